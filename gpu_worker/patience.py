"""Statements to stores that may be away for a while."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from time import perf_counter
from typing import TypeVar

import structlog

from jobs.errors import Unavailable
from jobs.storage.database import DATABASE_AWAY

FIRST_PAUSES_S = (0.2, 0.5, 1.0)
PAUSE_S = 2.0
# Then one more try, which has a deadline of its own.
PATIENCE_S = 120.0

T = TypeVar("T")

log = structlog.get_logger()


async def patiently(statement: Callable[[], Awaitable[T]]) -> T:
    """Repeats it while a store is away: giving up would waste what was drawn, or empty the queue for nothing.

    Safe to repeat, because the attempt fences it. Raises what it raised last when the patience is over.
    """
    until, pauses = perf_counter() + PATIENCE_S, chain(FIRST_PAUSES_S, repeat(PAUSE_S))
    while perf_counter() < until:
        try:
            return await statement()
        except (*DATABASE_AWAY, Unavailable) as error:
            pause_s = next(pauses)
            log.warning("store_away", error=repr(error), next_s=pause_s)
            await asyncio.sleep(pause_s)
    return await statement()
