"""Waiting for the stores, which may start after us. It keeps no connection."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import chain, repeat

import asyncpg
import structlog
from redis.exceptions import AuthenticationError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.errors import Unavailable
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.redis_connection import open_redis

WITHIN_S = 60.0
FIRST_PAUSES_S = (0.2, 0.5, 1.0)
PAUSE_S = 2.0
ASK_WITHIN_S = 5

_AWAY = (*DATABASE_AWAY, RedisConnectionError, RedisTimeoutError)
# Unless they are of those above, waiting does not help; and it never does where the address or the password is wrong.
_REFUSED = (ValueError, asyncpg.PostgresError, RedisError)

log = structlog.get_logger()


async def stores_answer(database_url: str, redis_url: str, *, verify_tls: bool, within_s: float = WITHIN_S) -> None:
    """Returns when both do. Raises Unavailable where one refuses us, or has not answered within this time."""

    async def ask_postgres() -> None:
        connection = await asyncpg.connect(database_url, timeout=ASK_WITHIN_S)
        await connection.close(timeout=ASK_WITHIN_S)

    async def ask_redis() -> None:
        async with open_redis(redis_url, verify_tls=verify_tls, connections=1) as redis:
            await redis.ping()

    until = time.monotonic() + within_s
    await _answer("PostgreSQL at DATABASE_URL", ask_postgres, until, within_s)
    await _answer("Redis at REDIS_URL", ask_redis, until, within_s)


async def _answer(store: str, ask: Callable[[], Awaitable[None]], until: float, within_s: float) -> None:
    for pause_s in chain(FIRST_PAUSES_S, repeat(PAUSE_S)):
        try:
            async with asyncio.timeout(ASK_WITHIN_S):
                return await ask()
        except (*_AWAY, *_REFUSED) as error:
            if not isinstance(error, _AWAY) or isinstance(error, ValueError | AuthenticationError):
                raise Unavailable(f"{store} {_refusal(error)}") from error
            if time.monotonic() + pause_s > until:
                raise Unavailable(f"{store} has not answered within {within_s:g} s: {error!r}") from error
            log.warning("store_away", store=store, error=repr(error), next_s=pause_s)
        await asyncio.sleep(pause_s)


def _refusal(error: Exception) -> str:
    if isinstance(error, ValueError) and not isinstance(error, _AWAY):
        # What it says may be a piece of the password.
        return "cannot be read as an address; in a password write / as %2F, # as %23, ? as %3F and @ as %40"
    return f"refuses us: {error}"
