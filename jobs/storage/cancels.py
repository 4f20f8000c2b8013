"""Cancels on their way to workers: a short stream in Redis, which each worker reads over one connection.

They may be lost with it: a canceled attempt is refused when it next writes, see `JobStore`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import structlog
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from jobs.storage.background import beside

CANCELS = "darkroom:cancels"
# Who draws the job listens already, or will as soon as its claim has returned.
LIFE_S = 60
# As many are kept at least, here and by each worker.
LAST = 10_000
# Shorter than the connection's own patience.
BLOCK_S = 5
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

log = structlog.get_logger()


def tell_canceled(client: Any, job_id: int, attempt: int) -> None:
    """`client` is a pipeline."""
    client.xadd(CANCELS, {"attempt": _name(job_id, attempt)}, maxlen=LAST)
    client.expire(CANCELS, LIFE_S)


class Cancels:
    """Open it with `open_cancels`."""

    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._stops: dict[str, Callable[[], None]] = {}
        # In the order in which they came.
        self._heard: dict[str, None] = {}
        self._last: bytes | str = "0"

    @contextmanager
    def when_canceled(self, job_id: int, attempt: int, stop: Callable[[], None]) -> Iterator[None]:
        """Within the block, `stop` is called once this attempt is canceled; at once where it has been already."""
        name = _name(job_id, attempt)
        if name in self._heard:
            stop()
        self._stops[name] = stop
        try:
            yield
        finally:
            del self._stops[name]

    async def listen_for_ever(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                await self._listen()
                pause_s = FIRST_PAUSE_S
            except (RedisError, OSError) as error:
                log.warning("cancels_not_heard", error=repr(error), next_s=pause_s)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            except Exception:
                log.exception("cancels_broke")  # and not ended: no cancel would be heard any more
                await asyncio.sleep(LONGEST_PAUSE_S)

    async def _listen(self) -> None:
        """From the last that was heard, so that none is missed while the connection is away."""
        for _stream, told in await self._redis.xread({CANCELS: self._last}, count=LAST, block=BLOCK_S * 1000):
            for self._last, fields in told:
                self._hear(fields[b"attempt"].decode())

    def _hear(self, name: str) -> None:
        self._heard[name] = None
        if len(self._heard) > LAST:
            del self._heard[next(iter(self._heard))]
        if name in self._stops:
            self._stops[name]()


@asynccontextmanager
async def open_cancels(redis: ArqRedis) -> AsyncIterator[Cancels]:
    cancels = Cancels(redis)
    async with beside(cancels.listen_for_ever()):
        yield cancels


def _name(job_id: int, attempt: int) -> str:
    return f"{job_id}:{attempt}"
