"""Accounts and their API keys in PostgreSQL. Keys are kept as hashes only."""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from jobs.account import ALL_SCOPES, Account, Grant, RateLimit
from jobs.errors import Fault, InvalidSubmission, NotAuthenticated, NotFound
from jobs.names import did_you_mean, there_are
from jobs.signing_keys import SigningKind
from jobs.storage.database import Connection, Database, queries, rows_of

KEY_PREFIX = "dk_"
SHOWN_OF_A_KEY = 10
MAX_COMPARED = 1000
MAX_LISTED = 10


async def no_account(connection: Connection, name: str) -> NotFound:
    """An operator's mistake, with the names that may have been meant: no client learns of other accounts."""
    names = [row["name"] for row in await rows_of(queries.account_names(connection, limit=MAX_COMPARED))]
    all_of_few = there_are(names) if 0 < len(names) <= MAX_LISTED else ""
    near = did_you_mean(name, names) or all_of_few
    return NotFound(f"There is no account {name!r}{f'; {near}' if near else '.'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What is told of a key: not the key. It works until `expires_at`, if that is set, or until it is revoked."""

    id: int
    account: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    replaced_by: int | None


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
            return account_from(row)

    async def exists(self, name: str) -> bool:
        async with self._database.connection() as connection:
            return await queries.account_by_name(connection, name=name) is not None

    async def named(self, name: str) -> Account:
        """Raises NotFound."""
        async with self._database.connection() as connection:
            row = await queries.account_by_name(connection, name=name)
            if row is None:
                raise await no_account(connection, name)
        return account_from(row)

    async def set_priority(self, account_id: int, priority: int) -> None:
        async with self._database.connection() as connection:
            await queries.set_priority(connection, account_id=account_id, priority=priority)

    async def set_weight(self, account_id: int, weight: float) -> None:
        async with self._database.connection() as connection:
            await queries.set_weight(connection, account_id=account_id, weight=weight)

    async def set_rate_limit(self, account_id: int, limit: RateLimit | None) -> None:
        """None lets the account send as much as it likes."""
        per_s, burst = (limit.per_s, limit.burst) if limit else (None, None)
        async with self._database.connection() as connection:
            await queries.set_rate_limit(connection, account_id=account_id, per_s=per_s, burst=burst)

    async def new_key(
        self, account_id: int, *, scopes: Collection[str] = ALL_SCOPES, lifetime: timedelta | None = None
    ) -> str:
        """A fresh key. It is shown this once: only its hash is kept."""
        async with self._database.connection() as connection:
            key, _ = await _add_key(connection, account_id, scopes, lifetime)
        return key

    async def rotate_key(self, key_id: int, overlap: timedelta) -> str:
        """A fresh key with the account, scopes and life of this one, which goes on working for `overlap`.

        Raises NotFound, or InvalidSubmission for a key that does not work or was rotated before.
        """
        async with self._database.transaction() as connection:
            row = await queries.key_to_rotate(connection, id=key_id)
            if row is None:
                raise NotFound(f"There is no key {key_id}.")
            _check_rotation(key_id, row)
            key, new_id = await _add_key(connection, row["account_id"], row["scopes"], row["lifetime"])
            await queries.replace_key(connection, id=key_id, replaced_by=new_id, overlap=overlap)
        return key

    async def rotate_webhook_secret(self, name: str, overlap: timedelta) -> Account:
        """The account with a fresh secret; for `overlap` the old one signs too. Raises NotFound."""
        async with self._database.connection() as connection:
            await queries.rotate_webhook_secret(connection, name=name, secret=secrets.token_bytes(32), overlap=overlap)
        return await self.named(name)

    async def signing_key(self, name: str, kind: SigningKind) -> bytes | None:
        """The private key that signs this account's callbacks. Raises NotFound for an account that is not."""
        async with self._database.connection() as connection:
            row = await queries.signing_key(connection, name=name, kind=kind.value)
            if row is None:
                raise await no_account(connection, name)
        key: bytes | None = row["key"]
        return key

    async def set_signing_key(self, name: str, kind: SigningKind, key: bytes | None) -> None:
        """None: nothing signs in this way any more."""
        async with self._database.connection() as connection:
            await queries.set_signing_key(connection, name=name, kind=kind.value, key=key)

    async def revoke_key(self, key_id: int) -> None:
        """Raises NotFound."""
        async with self._database.connection() as connection:
            if await queries.revoke_key(connection, id=key_id) is None:
                raise NotFound(f"There is no key {key_id}.")

    async def keys(self, account: str | None = None) -> list[KeyRecord]:
        """Of the account of this name, or of all."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.keys_of(connection, account=account))
        return [KeyRecord(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]

    async def knows(self, key: str) -> bool:
        try:
            await self.grant_of(key)
        except NotAuthenticated:
            return False
        return True

    async def grant_of(self, key: str) -> tuple[int, Grant]:
        """The key's id, and what it stands for. Raises NotAuthenticated."""
        async with self._database.connection() as connection:
            row = await queries.grant_of_key(connection, hash=_hash(key))
        if row is None:
            raise NotAuthenticated("This API key is unknown, has expired or was revoked.")
        return row["key_id"], grant_from(row)

    async def note_used(self, times: Mapping[int, datetime]) -> None:
        """When keys, by id, were used last."""
        async with self._database.connection() as connection:
            await queries.note_keys_used(connection, ids=list(times), times=list(times.values()))


def account_from(row: Any) -> Account:
    limit = RateLimit(per_s=row["rate_per_s"], burst=row["burst"]) if row["burst"] else None
    return Account(
        id=row["account_id"],
        name=row["name"],
        webhook_secret=row["webhook_secret"],
        priority=row["priority"],
        weight=row["weight"],
        rate_limit=limit,
    )


def grant_from(row: Any) -> Grant:
    return Grant(account=account_from(row), scopes=frozenset(row["scopes"]))


async def _add_key(
    connection: Any, account_id: int, scopes: Collection[str], lifetime: timedelta | None
) -> tuple[str, int]:
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    key_id = await queries.add_key(
        connection,
        hash=_hash(key),
        account_id=account_id,
        prefix=key[:SHOWN_OF_A_KEY],
        scopes=sorted(scopes),
        lifetime=lifetime,
    )
    return key, key_id


def _check_rotation(key_id: int, row: Any) -> None:
    if not row["works"]:
        raise InvalidSubmission([Fault("", f"key {key_id} has expired or was revoked; create a new one")])
    if row["replaced_by"]:
        raise InvalidSubmission([Fault("", f"key {key_id} was replaced by key {row['replaced_by']}; rotate that one")])


def _hash(key: str) -> bytes:
    # A header's bytes that are no UTF-8 come as lone surrogates.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()
