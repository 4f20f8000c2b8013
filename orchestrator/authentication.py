"""Who is asking: an API key to an account. It does not say what an account may do."""

import time

from aiohttp import web

from jobs.errors import NotAuthenticated
from jobs.storage.account_store import AccountStore

# A revoked key works for this long in a process that has just seen it.
REMEMBER_S = 10
REMEMBER_KEYS = 10_000


class Authentication:
    def __init__(self, accounts: AccountStore) -> None:
        self._accounts = accounts
        self._known: dict[str, tuple[int, float]] = {}

    async def account_of(self, request: web.Request) -> int:
        """Raises NotAuthenticated."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise NotAuthenticated
        account_id, until = self._known.get(key, (0, 0.0))
        return account_id if time.monotonic() < until else await self._look_up(key)

    async def _look_up(self, key: str) -> int:
        account_id = await self._accounts.account_of(key.strip())
        if len(self._known) >= REMEMBER_KEYS:
            self._known.clear()
        self._known[key] = (account_id, time.monotonic() + REMEMBER_S)
        return account_id
