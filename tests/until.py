"""Waiting for a condition, within bounds."""

import asyncio
from collections.abc import Awaitable, Callable


async def until(is_so: Callable[[], Awaitable[bool]], *, within_s: float = 10) -> None:
    """Returns as soon as it is so. Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not await is_so():
            await asyncio.sleep(0.005)
