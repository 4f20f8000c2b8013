"""A process that stood still has not used up its time."""

import asyncio
import time

import pytest

from gpu_worker import awake
from gpu_worker.awake import awake_for


async def test_only_the_time_counts_in_which_the_process_could_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awake, "TICK_S", 0.1)
    monkeypatch.setattr(awake, "MOST_OF_A_TICK_S", 0.2)
    began = time.monotonic()

    asyncio.get_running_loop().call_soon(time.sleep, 1)
    await awake_for(0.5)

    # Of the second a fifth.
    assert 1.25 <= time.monotonic() - began < 3


async def test_that_is_all_time_where_nothing_stands_still() -> None:
    began = time.monotonic()

    await awake_for(1.2)

    assert 1.1 <= time.monotonic() - began < 2


async def test_one_that_is_canceled_at_its_end_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    waiting = asyncio.create_task(awake_for(0.02))
    await asyncio.sleep(0)

    # Both are due in one turn of the loop, the end last.
    asyncio.get_running_loop().call_later(0.01, waiting.cancel)
    asyncio.get_running_loop().call_soon(time.sleep, 0.05)
    await asyncio.wait([waiting])

    assert waiting.cancelled()
    assert caplog.records == []
