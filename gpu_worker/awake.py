"""Time in which this process could run. What it stood still for, as in a machine that sleeps, does not count."""

import asyncio
import time

TICK_S = 1.0
# A loop that is busy may be late by as much; what is longer was no work of ours.
MOST_OF_A_TICK_S = 2.0


async def awake_for(seconds: float) -> None:
    left_s = seconds
    while left_s > 0:
        began = time.monotonic()
        await asyncio.sleep(min(left_s, TICK_S))
        left_s -= min(time.monotonic() - began, MOST_OF_A_TICK_S)
