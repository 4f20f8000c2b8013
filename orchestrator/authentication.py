"""Who is asking: an API key or a signature to an account, if that account may. It does not know what is asked for."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from redis.exceptions import RedisError

from jobs.account import Account, Grant, Scope
from jobs.dialects.tams_signature import SCHEME, RequestSignature, check_signature, read_public_key, read_signature
from jobs.errors import NotAuthenticated, PermissionDenied, Unavailable
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.nonces import Nonces
from jobs.words import count
from orchestrator.json_http import read_body
from orchestrator.last_used import LastUsed
from orchestrator.rate_limit import RateLimiter

# What is revoked works for this long in a process that has just seen it.
REMEMBER = timedelta(seconds=10)
REMEMBER_MOST = 10_000
NONCE_WITHIN_S = 1

Value = TypeVar("Value")

log = structlog.get_logger()


class Authentication:
    """`signature_window` is how far the timestamp of a signed request may be from our clock, either way."""

    def __init__(
        self,
        *,
        accounts: AccountStore,
        apps: AppStore,
        nonces: Nonces,
        limiter: RateLimiter,
        last_used: LastUsed,
        signature_window: timedelta,
        now: Callable[[], datetime],
    ) -> None:
        self._apps = apps
        self._nonces = nonces
        self._limiter = limiter
        self._last_used = last_used
        self._window = signature_window
        self._now = now
        self._known_keys = _Remembered(accounts.grant_of)
        self._known_apps = _Remembered(self._look_up_app)

    async def account_of(self, request: web.Request, scope: Scope) -> Account:
        """Raises NotAuthenticated, RateLimited or PermissionDenied; Unavailable where a signature cannot be checked."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        scheme, credentials = scheme.upper(), credentials.strip()
        if scheme == "BEARER" and credentials:
            grant = await self._grant_of_key(credentials)
        elif scheme == SCHEME:
            grant = await self._grant_of_app(request, read_signature(credentials))
        else:
            raise NotAuthenticated
        if grant.account.rate_limit:
            await self._limiter.admit(request, grant.account)
        if scope not in grant.scopes:
            raise PermissionDenied(f"This needs the scope {scope.value!r}, which the key or app was not given.")
        return grant.account

    async def _grant_of_key(self, key: str) -> Grant:
        now = self._now()
        key_id, grant = await self._known_keys.get(key, now)
        self._last_used.keys[key_id] = now
        return grant

    async def _grant_of_app(self, request: web.Request, claimed: RequestSignature) -> Grant:
        self._check_timestamp(claimed.timestamp)
        public_key, grant = await self._known_apps.get(claimed.app_id, self._now())
        # As it came, without any decoding: the client signed these bytes.
        check_signature(claimed, public_key, request.method, request.raw_path, await read_body(request))
        await self._use_nonce(claimed)
        self._last_used.apps[claimed.app_id] = self._now()
        return grant

    def _check_timestamp(self, timestamp: int) -> None:
        now = self._now().timestamp()
        if abs(now - timestamp) > self._window.total_seconds():
            raise NotAuthenticated(
                f"The timestamp {timestamp} is over {count(round(self._window.total_seconds()), 'second')} away from"
                f" the server's clock, {now:.0f}."
            )

    async def _use_nonce(self, claimed: RequestSignature) -> None:
        # After the signature, so that strangers can fill nothing. A timestamp that is ahead by the window holds for
        # twice as long; besides, a body may come slowly and clocks of web machines may differ a little.
        life = 2 * self._window + timedelta(minutes=2)
        try:
            async with asyncio.timeout(NONCE_WITHIN_S):
                is_new = await self._nonces.use(claimed.app_id, claimed.nonce, life)
        except (RedisError, OSError) as error:
            # Closed and not open: who can make Redis slow must not thereby be able to send a request again.
            log.error("nonce_not_checked", app_id=claimed.app_id, error=repr(error))
            raise Unavailable("Signed requests cannot be checked now; try again.") from error
        if not is_new:
            raise NotAuthenticated("This nonce_str was used before; each request needs a new one.")

    async def _look_up_app(self, app_id: str) -> tuple[RSAPublicKey, Grant]:
        public_key, grant = await self._apps.get(app_id)
        return read_public_key(public_key.encode()), grant


class _Remembered(Generic[Value]):
    """What was found a moment ago, so that not each request asks the database. What is not found is not kept."""

    def __init__(self, find: Callable[[str], Awaitable[Value]]) -> None:
        self._find = find
        self._found: dict[str, tuple[Value, datetime]] = {}

    async def get(self, name: str, now: datetime) -> Value:
        if name in self._found:
            value, found_at = self._found[name]
            # Both ways: a clock that was set back must not make it last.
            if abs(now - found_at) < REMEMBER:
                return value
        value = await self._find(name)
        self._found.pop(name, None)
        if len(self._found) >= REMEMBER_MOST:
            del self._found[next(iter(self._found))]  # the oldest: dicts keep their order
        self._found[name] = (value, now)
        return value
