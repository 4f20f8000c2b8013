"""Accounts and their API keys in PostgreSQL. Keys are kept as hashes only."""

import hashlib
import secrets
from dataclasses import dataclass, field

from jobs.errors import NotAuthenticated
from jobs.storage.database import Database, queries

KEY_PREFIX = "dk_"
SHOWN_OF_A_KEY = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`webhook_secret` signs this account's callbacks; clients write it as `whsec_<base64>`."""

    id: int
    name: str
    webhook_secret: bytes = field(repr=False)


class AccountStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, name: str) -> Account:
        """The account of this name, made on first use."""
        async with self._database.transaction() as connection:
            row = await queries.account_by_name(connection, name=name)
            if row is None:
                await queries.add_account(connection, name=name, webhook_secret=secrets.token_bytes(32))
                row = await queries.account_by_name(connection, name=name)
            return Account(id=row["id"], name=row["name"], webhook_secret=row["webhook_secret"])

    async def new_key(self, account_id: int) -> str:
        """A fresh key. It is shown this once: only its hash is kept."""
        key = KEY_PREFIX + secrets.token_urlsafe(32)
        async with self._database.connection() as connection:
            await queries.add_key(connection, hash=_hash(key), account_id=account_id, prefix=key[:SHOWN_OF_A_KEY])
        return key

    async def knows(self, key: str) -> bool:
        try:
            await self.account_of(key)
        except NotAuthenticated:
            return False
        return True

    async def account_of(self, key: str) -> int:
        """Raises NotAuthenticated for a key that is unknown or revoked."""
        async with self._database.connection() as connection:
            account_id = await queries.account_of_key(connection, hash=_hash(key))
        if account_id is None:
            raise NotAuthenticated("This API key is unknown or was revoked.")
        return int(account_id)


def _hash(key: str) -> bytes:
    # A header's bytes that are no UTF-8 come as lone surrogates.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
