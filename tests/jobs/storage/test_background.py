"""Work beside other work ends with it, also where something swallows a cancellation."""

import asyncio

import pytest

from jobs.storage import background
from jobs.storage.background import beside


async def test_it_has_ended_when_the_block_has() -> None:
    ended = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    async with beside(work(), work()):
        await asyncio.sleep(0)

    assert ended == [True, True]


async def test_a_cancellation_that_was_swallowed_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "ASK_AGAIN_S", 0.01)
    swallowed = []

    async def work() -> None:
        while len(swallowed) < 3:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed.append(True)

    async with beside(work()):
        await asyncio.sleep(0)

    assert len(swallowed) == 3


async def test_what_never_ends_keeps_nobody_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "ASK_AGAIN_S", 0.01)
    may_end = asyncio.Event()

    async def work() -> None:
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                pass

    async with asyncio.timeout(2):
        async with beside(work()):
            await asyncio.sleep(0)
    may_end.set()
    await asyncio.sleep(0.01)


async def test_a_work_that_fails_ends_no_other() -> None:
    async def failing() -> None:
        raise RuntimeError("out of order")

    async with beside(failing(), asyncio.sleep(60)):
        await asyncio.sleep(0.01)
