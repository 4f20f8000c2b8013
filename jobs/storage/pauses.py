"""Which workers take no new job because an operator said so, in Redis. It may be lost with it: then they go on.

A name is a worker's, or `pool:` and a pool's.
"""

from collections.abc import Awaitable
from typing import Any, cast

from arq.connections import ArqRedis

PAUSED = "darkroom:paused"
ALL = "*"
"""In place of a name."""


def of_pool(pool: str) -> str:
    """In place of a worker's name."""
    return f"pool:{pool}"


class Pauses:
    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def pause(self, worker: str = ALL) -> None:
        await cast(Awaitable[int], self._redis.sadd(PAUSED, worker))

    async def resume(self, worker: str = ALL) -> bool:
        """Whether it was paused. Of all workers: those that were paused by their names go on too."""
        if worker == ALL:
            return bool(await self._redis.delete(PAUSED))
        return bool(await cast(Awaitable[int], self._redis.srem(PAUSED, worker)))

    async def hold(self, worker: str) -> bool:
        """Whether this worker is to take no new job. With ALL: whether none is."""
        return any(await cast(Awaitable[list[Any]], self._redis.smismember(PAUSED, [ALL, worker])))

    async def named(self) -> set[str]:
        return {name.decode() for name in await cast(Awaitable[set[bytes]], self._redis.smembers(PAUSED))}
