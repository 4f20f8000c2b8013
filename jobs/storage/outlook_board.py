"""What forecasts are made of, in Redis: who works and until when, how long jobs took, how long they waited.

It may be lost, and is then measured again.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from arq.connections import ArqRedis

from jobs.job import Range
from jobs.outlook import LENGTHS, Outlook, Spread, Wait
from jobs.storage.job_queue import FRESH, WAITS

WORKERS = "darkroom:workers"
SPREADS = "darkroom:durations"
# A worker tells of itself every two seconds; one that was silent for so long is not counted, and after a minute
# forgotten.
ALIVE_S = 10
FORGOTTEN_S = 60
# Of what it should still take, for a job that takes longer than it should.
OVERDUE_SHARE = 0.2
# The time over which the work of those who stand at the front is counted.
FRESH_OVER_S = 300

_MEASURE = (Path(__file__).parent / "measure.lua").read_text()


class _Told(NamedTuple):
    """By a worker of itself: when, since when it has been at a job, and how long that should take."""

    at: float
    began: float
    cost_s: float


class OutlookBoard:
    def __init__(self, redis: ArqRedis, now: Callable[[], float] = time.time) -> None:
        """`now` is in seconds since 1970."""
        self._redis = redis
        self._now = now
        self._fresh: deque[tuple[float, float]] = deque()
        self._measure = redis.register_script(_MEASURE)

    async def tell(self, worker: str, *, began: float = 0.0, cost_s: float = 0.0) -> None:
        """That it is alive; and, where it is at a job, since when, and how long that should take."""
        told = f"{self._now():.3f} {began:.3f} {cost_s:.3f}"
        await cast(Awaitable[int], self._redis.hset(WORKERS, worker, told))

    async def alive(self) -> set[str]:
        """The workers that take jobs, or are at one."""
        told = await cast(Awaitable[dict[bytes, bytes]], self._redis.hgetall(WORKERS))
        return {name.decode() for name, each in _workers(told).items() if self._silent_s(each) <= ALIVE_S}

    async def forget(self, *workers: str) -> None:
        await cast(Awaitable[int], self._redis.hdel(WORKERS, *workers))

    async def measured(self, *durations: tuple[str, float]) -> None:
        """Jobs of these kinds took so many times their nominal seconds."""
        # "" stands for all kinds.
        arguments = [each for kind, factor in durations for of in (kind, "") for each in (of, repr(factor))]
        await self._measure(keys=[SPREADS, f"{SPREADS}:"], args=arguments)

    async def read(self) -> Outlook:
        """As it is now. One call."""
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(WORKERS)
        pipeline.hgetall(SPREADS)
        pipeline.get(FRESH)
        for length in range(LENGTHS):
            pipeline.lrange(f"{WAITS}{length}", 0, -1)
        told_of_workers, spreads, fresh, *waits = await pipeline.execute()
        workers = _workers(told_of_workers)
        if forgotten := [name for name, told in workers.items() if self._silent_s(told) > FORGOTTEN_S]:
            await self.forget(*(name.decode() for name in forgotten))
        return Outlook(
            spreads={kind.decode(): Spread(*_numbers(spread)) for kind, spread in spreads.items()},
            free_in_s=[self._free_in_s(told) for told in workers.values() if self._silent_s(told) <= ALIVE_S],
            waits=[_wait(told) for of_length in waits for told in of_length],
            fresh_per_s=self._fresh_per_s(int(fresh or 0) / 1000),
        )

    def _fresh_per_s(self, fresh_s: float) -> float:
        """Of the last minutes, as far as this process has looked at them."""
        if self._fresh and fresh_s < self._fresh[-1][1]:  # Redis was emptied
            self._fresh.clear()
        self._fresh.append((self._now(), fresh_s))
        while self._fresh[0][0] < self._now() - FRESH_OVER_S:
            self._fresh.popleft()
        began, before_s = self._fresh[0]
        return (fresh_s - before_s) / max(self._now() - began, FRESH_OVER_S / 10)

    def _silent_s(self, told: _Told) -> float:
        return self._now() - told.at

    def _free_in_s(self, told: _Told) -> float:
        if not told.began:
            return 0.0
        return max(told.began + told.cost_s - self._now(), told.cost_s * OVERDUE_SHARE)


def _workers(told: Mapping[bytes, bytes]) -> dict[bytes, _Told]:
    """Without those of which another version of Darkroom tells in a way that this one cannot read."""
    readable = {}
    for name, each in told.items():
        with suppress(ValueError, TypeError):
            readable[name] = _Told(*_numbers(each))
    return readable


def _wait(told: bytes) -> Wait:
    raw_s, p50, p90, actual_s = _numbers(told)
    return Wait(raw_s, Range(p50, p90), actual_s)


def _numbers(text: Any) -> list[float]:
    return [float(each) for each in text.split()]
