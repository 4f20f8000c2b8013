"""What requests that come at once may rely on, whatever becomes of the work they share."""

import asyncio
from collections.abc import Sequence

import pytest

from jobs.errors import Unavailable
from orchestrator import batcher as module
from orchestrator.batcher import Batcher, Pending


class Work:
    """Answers with the item itself; `held` keeps it back, also when it is told to stop."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.held = asyncio.Event()
        self.held.set()

    async def __call__(self, batch: Sequence[Pending[int, int]]) -> None:
        self.batches.append([each.item for each in batch])
        while not self.held.is_set():
            try:
                await self.held.wait()
            except asyncio.CancelledError:
                continue
        for each in batch:
            if each.item == 13:
                raise ValueError("unlucky")
            if each.item != 7:
                each.resolve(each.item)


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def batcher(work: Work) -> Batcher[int, int]:
    return Batcher(work, within_s=0.1, late="too late")


async def test_what_is_forgotten_fails_and_its_neighbours_do_not(batcher: Batcher[int, int], work: Work) -> None:
    *others, forgotten, last = await asyncio.gather(*map(batcher.ask, (1, 2, 7, 8)), return_exceptions=True)

    assert (others, last) == ([1, 2], 8)
    assert isinstance(forgotten, RuntimeError)
    assert work.batches == [[1], [2], [7, 8]]


async def test_what_the_work_raises_is_the_answer_and_the_next_batch_goes_on(batcher: Batcher[int, int]) -> None:
    with pytest.raises(ValueError, match="unlucky"):
        await batcher.ask(13)

    assert await batcher.ask(1) == 1


async def test_work_that_does_not_stop_holds_nobody_up(batcher: Batcher[int, int], work: Work) -> None:
    work.held.clear()
    async with asyncio.timeout(1):
        *stuck, behind = await asyncio.gather(*map(batcher.ask, (1, 2, 4)), return_exceptions=True)

    assert [isinstance(each, Unavailable) and each.message for each in stuck] == ["too late", "too late"]
    assert isinstance(behind, Unavailable)
    work.held.set()
    assert await batcher.ask(3) == 3


async def test_too_many_are_turned_away(
    batcher: Batcher[int, int], work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_PENDING", 2)
    work.held.clear()
    asking = [asyncio.create_task(batcher.ask(i)) for i in range(4)]
    await asyncio.sleep(0)

    with pytest.raises(Unavailable):
        await batcher.ask(4)
    work.held.set()
    assert await asyncio.gather(*asking) == [0, 1, 2, 3]


async def test_who_has_gone_is_not_worked_for(batcher: Batcher[int, int], work: Work) -> None:
    work.held.clear()
    *others, gone, last = (asyncio.create_task(batcher.ask(i)) for i in range(4))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    work.held.set()

    assert (await asyncio.gather(*others), await last) == ([0, 1], 3)
    assert work.batches == [[0], [1], [3]]


async def test_a_batch_that_is_slow_does_not_hold_up_the_next() -> None:
    async def work(batch: Sequence[Pending[str, str]]) -> None:
        for each in batch:
            if each.item == "slow":
                await asyncio.Event().wait()
            each.resolve(each.item)

    batcher = Batcher(work, within_s=1, late="too late")
    slow = asyncio.create_task(batcher.ask("slow"))
    await asyncio.sleep(0)
    async with asyncio.timeout(0.5):
        answer = await batcher.ask("quick")

    assert answer == "quick"
    assert not slow.done()
    with pytest.raises(Unavailable):
        await slow


async def test_closing_answers_all_that_wait_and_all_that_come(batcher: Batcher[int, int], work: Work) -> None:
    work.held.clear()
    asking = [asyncio.create_task(batcher.ask(i)) for i in range(3)]
    await asyncio.sleep(0.01)
    batcher.close()

    async with asyncio.timeout(1):
        answers = await asyncio.gather(*asking, return_exceptions=True)
        with pytest.raises(Unavailable):
            await batcher.ask(4)
    work.held.set()
    assert all(isinstance(answer, Unavailable) for answer in answers)
