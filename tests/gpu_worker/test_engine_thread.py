"""What is brought to the engine's thread is done in its order, once, or given up in time."""

import asyncio
import threading

import pytest

from gpu_worker import engine_thread
from gpu_worker.engine_thread import EngineThread
from jobs.errors import EngineBusy


async def test_what_comes_in_one_turn_of_the_loop_is_done_in_its_order_by_one_thread() -> None:
    thread, done = EngineThread(), list[int]()

    def work(number: int) -> str:
        done.append(number)
        return threading.current_thread().name

    names = await asyncio.gather(*(thread.run(work, number) for number in range(5)))

    assert done == [0, 1, 2, 3, 4]
    assert len(set(names)) == 1


async def test_what_nobody_waits_for_any_more_is_not_begun() -> None:
    thread, go_on, begun = EngineThread(), threading.Event(), list[str]()
    first = asyncio.create_task(thread.run(go_on.wait, 10))
    given_up, last = (asyncio.create_task(thread.run(begun.append, name)) for name in ("given up", "last"))
    await asyncio.sleep(0.05)

    given_up.cancel()
    go_on.set()
    await asyncio.gather(first, last)

    assert begun == ["last"]


async def test_what_was_begun_in_time_is_not_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_thread, "TURN_WITHIN_S", 0.05)
    thread = EngineThread()

    begun, late = await asyncio.gather(
        thread.run(threading.Event().wait, 0.3), thread.run(list), return_exceptions=True
    )

    assert begun is False
    assert isinstance(late, EngineBusy)


@pytest.mark.parametrize("error", [ValueError("it broke"), StopIteration("it broke")])
async def test_whatever_the_work_raises_its_caller_hears_of_it(error: Exception) -> None:
    def work() -> None:
        raise error

    with pytest.raises((ValueError, RuntimeError), match="it broke"):
        await asyncio.wait_for(EngineThread().run(work), 5)
