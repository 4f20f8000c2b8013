"""Time in which this process could run. What it stood still for, as in a machine that sleeps, does not count."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial

TICK_S = 1.0
# A loop that is busy may be late by as much; what is longer was no work of ours.
MOST_OF_A_TICK_S = 2.0


class AwakeTimer:
    """Calls what it was given, once so many seconds have passed; not after `cancel`."""

    def __init__(self, seconds: float, function: Callable[[], object]) -> None:
        self._left_s = seconds
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._wait()

    def cancel(self) -> None:
        self._tick.cancel()

    def _wait(self) -> None:
        self._began = time.monotonic()
        self._tick = self._loop.call_later(min(self._left_s, TICK_S), self._count)

    def _count(self) -> None:
        self._left_s -= min(time.monotonic() - self._began, MOST_OF_A_TICK_S)
        if self._left_s > 0:
            self._wait()
        else:
            self._function()


async def awake_for(seconds: float) -> None:
    passed = asyncio.Event()
    timer = AwakeTimer(seconds, passed.set)
    try:
        await passed.wait()
    finally:
        timer.cancel()


@asynccontextmanager
async def awake_timeout(seconds: float) -> AsyncIterator[AwakeTimer]:
    """As `asyncio.timeout`, until the timer is canceled. Raises TimeoutError."""
    async with asyncio.timeout(None) as bound:
        timer = AwakeTimer(seconds, partial(bound.reschedule, 0.0))
        try:
            yield timer
        finally:
            timer.cancel()
