"""How jobs come in over HTTP: what is asked for at once is read together, enters together, and is told of together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeAlias

from jobs.errors import DarkroomError
from jobs.job import Job
from orchestrator.batcher import Batcher, Pending
from orchestrator.drafting import Draft, Drafting, Step
from orchestrator.entering import Entered, Entering
from orchestrator.telling import Telling

WITHIN_S = 15
LATE = "The job may or may not have been stored; send the same request again to know."
# Who else is served by this process waits no longer than this, and one job's step, for jobs to be read.
LOOP_HELD_UP_S = 0.005
# What the stores have answered another batch goes on meanwhile: they would wait for this process, and then it for them.
YIELD_EVERY_S = 0.0002


class Taken(NamedTuple):
    """A job that was accepted, and the body that answers who asked for it."""

    job: Job
    body: bytes


_Pending: TypeAlias = "Pending[Draft, Taken]"


class Intake:
    """Open it with `open_intake`."""

    def __init__(self, drafting: Drafting, entering: Entering, telling: Telling) -> None:
        self._drafting = drafting
        self._entering = entering
        self._telling = telling
        self._batcher: Batcher[Draft, Taken] = Batcher(self._take_in, within_s=WITHIN_S, late=LATE)

    async def take_in(self, draft: Draft) -> Taken:
        """Durable when it returns.

        Raises InvalidSubmission, TooLarge, RequestIdConflict, InsufficientCredits, TooManyWaiting, or Unavailable where
        the database is away.
        """
        if draft.is_large:
            # Alone, so that what makes it slow uses up no neighbour's time.
            self._drafting.read(draft)
        return await self._batcher.ask(draft)

    def close(self) -> None:
        self._batcher.close()
        self._entering.close()

    async def _take_in(self, batch: Sequence[_Pending]) -> None:
        drafted = await self._draft(batch)
        if not drafted:
            return
        entered = await self._entering.enter([each.item.new_job for each in drafted])
        accepted = _settled(drafted, entered)
        new = [each for each in accepted if each.item.accepted.is_new]
        _answer(await _through_all(self._telling.of_new, new))
        # After those that nobody needs to look up.
        if known := [each for each in accepted if not each.item.accepted.is_new]:
            await self._telling.look_up([each.item for each in known])
            _answer(await _through_all(self._telling.of_known, known))

    async def _draft(self, batch: Sequence[_Pending]) -> Sequence[_Pending]:
        """Gives those that no fault was found with."""
        await _through_all(self._drafting.reading, [each for each in batch if not each.item.is_read])
        left = _unanswered(batch)
        if naming := [each for each in left if each.item.paths]:
            left = await self._with_pictures(left, naming)
        return await _through_all(self._drafting.pricing, left)

    async def _with_pictures(self, batch: Sequence[_Pending], naming: Sequence[_Pending]) -> Sequence[_Pending]:
        try:
            sizes = await self._drafting.sizes([each.item for each in naming])
        except Exception as error:
            for each in naming:
                each.fail(error)
        else:
            await _through(partial(self._drafting.look_at_pictures, known=sizes), naming)
        return _unanswered(batch)


def _settled(batch: Sequence[_Pending], entered: Sequence[Entered]) -> Sequence[_Pending]:
    """Those that were accepted; the others are told why not."""
    accepted = []
    for each, one in zip(batch, entered, strict=True):
        if isinstance(one, Exception):
            each.fail(one)
        else:
            each.item.accepted = one
            accepted.append(each)
    return accepted


def _answer(batch: Sequence[_Pending]) -> None:
    for each in batch:
        each.resolve(Taken(each.item.accepted.job, each.item.told))


async def _through_all(steps: Sequence[Step], batch: Sequence[_Pending]) -> Sequence[_Pending]:
    yield_at = perf_counter() + YIELD_EVERY_S
    for step in steps:
        batch = await _through(step, batch)
        if perf_counter() > yield_at:
            await asyncio.sleep(0)
            yield_at = perf_counter() + YIELD_EVERY_S
    return batch


async def _through(step: Step, batch: Sequence[_Pending]) -> Sequence[_Pending]:
    """Takes each draft a step further, and gives those that it did not fail."""
    is_whole, pause_at = True, perf_counter() + LOOP_HELD_UP_S
    for each in batch:
        try:
            step(each.item)
        except Exception as error:
            each.fail(_untraced(error))
            is_whole = False
        if perf_counter() > pause_at:
            await asyncio.sleep(0)
            pause_at = perf_counter() + LOOP_HELD_UP_S
    return batch if is_whole else _unanswered(batch)


def _unanswered(batch: Sequence[_Pending]) -> Sequence[_Pending]:
    return [each for each in batch if not each.answer.done()]


def _untraced(error: Exception) -> Exception:
    # What is no fault of ours is no riddle; a trace would keep the whole batch in memory until the next collection.
    return error.with_traceback(None) if isinstance(error, DarkroomError) else error


@asynccontextmanager
async def open_intake(drafting: Drafting, entering: Entering, telling: Telling) -> AsyncIterator[Intake]:
    intake = Intake(drafting, entering, telling)
    try:
        yield intake
    finally:
        intake.close()
