"""Waiting for a condition, within bounds."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(is_so: Callable[[], Awaitable[bool]], *, within_s: float = 10) -> None:
    """Returns as soon as it is so. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not await is_so():
            await asyncio.sleep(0.005)


async def only_this_task() -> None:
    """Returns when no other task is left in this loop. Raises AssertionError with what is left."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        _, left = await asyncio.wait(others, timeout=1)
        assert not left
