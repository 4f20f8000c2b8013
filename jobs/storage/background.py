"""Work that goes on beside other work, and surely ends with it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

# A library may swallow a cancellation, such as redis-py while it connects: then it is asked again.
ASK_AGAIN_S = 0.5
TIMES = 10

log = structlog.get_logger()


@asynccontextmanager
async def beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """What has not ended when the block ends is canceled and waited for. How one ends concerns no other."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        await _end(tasks)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for _ in range(TIMES):
        for task in tasks:
            task.cancel()
        _, left = await asyncio.wait(tasks, timeout=ASK_AGAIN_S)
        if not left:
            return
    log.error("work_does_not_end", tasks=[repr(task) for task in tasks])
