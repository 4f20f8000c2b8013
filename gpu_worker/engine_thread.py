"""The one thread that uses the engine, and how work is brought to it. It knows no job.

A second thread that computes, even once and before, gives OpenMP a second team; on as many cores as threads it then
stops spinning, and every step takes twice as long.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from jobs.errors import EngineBusy

# What was handed over together with others, because all should be short, and waits longer than this for its turn, is
# left to another worker.
TURN_WITHIN_S = 1

T = TypeVar("T")


class _Turn(NamedTuple):
    """`taken` once: by the thread that does the work, or by who gives it up."""

    work: Callable[[], Any]
    done: asyncio.Future[Any]
    taken: Lock


class EngineThread:
    """What comes in one turn of the loop is handed over at once: where work is short, handing over is most of it."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._coming: list[_Turn] = []

    async def run(self, function: Callable[..., T], *arguments: object) -> T:
        """All are run in the order in which they came. Raises EngineBusy where the turn does not come in time."""
        loop = asyncio.get_running_loop()
        if not self._coming:
            loop.call_soon(self._hand_over, loop)
        done: asyncio.Future[T] = loop.create_future()
        self._coming.append(_Turn(partial(function, *arguments), done, Lock()))
        return await done

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        turns, self._coming = self._coming, []
        giving_up = loop.call_later(TURN_WITHIN_S, _give_up, turns)
        self._thread.submit(_work_through, turns, loop, giving_up)


def _give_up(turns: Sequence[_Turn]) -> None:
    for turn in turns:
        if turn.taken.acquire(blocking=False):
            _answer(turn.done, None, EngineBusy())


def _work_through(turns: Sequence[_Turn], loop: asyncio.AbstractEventLoop, giving_up: asyncio.TimerHandle) -> None:
    for turn in turns:
        if not turn.done.cancelled() and turn.taken.acquire(blocking=False):
            loop.call_soon_threadsafe(_answer, turn.done, *_outcome(turn.work))
    loop.call_soon_threadsafe(giving_up.cancel)


def _outcome(work: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return work(), None
    except StopIteration as error:
        # No future takes it: who waits for this one would wait for ever.
        return None, RuntimeError(repr(error))
    except BaseException as error:
        return None, error


def _answer(done: asyncio.Future[Any], result: object, error: BaseException | None) -> None:
    if done.done():
        return  # nobody waits for it any more
    if error is None:
        done.set_result(result)
    else:
        done.set_exception(error)
