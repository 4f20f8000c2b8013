"""How jobs come in over HTTP: what is asked for at once is read together, enters together, and is told of together."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, TypeAlias

from jobs.job import Job
from orchestrator.batcher import Batcher, Pending
from orchestrator.drafting import Draft, Drafting, Step
from orchestrator.entering import Accepted, Entering
from orchestrator.telling import Telling

WITHIN_S = 15
LATE = "The job may or may not have been stored; send the same request again to know."
# Who else is served by this process waits no longer than this, and one job's step, for jobs to be read.
LOOP_HELD_UP_S = 0.005


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

    async def _take_in(self, batch: Sequence[_Pending]) -> None:
        drafted = await self._draft(batch)
        if not drafted:
            return
        entered = await self._entering.enter([each.item.new_job for each in drafted])
        for each, one in zip(drafted, entered, strict=True):
            if isinstance(one, Exception):
                each.fail(one)
        accepted = [(each, one) for each, one in zip(drafted, entered, strict=True) if isinstance(one, Accepted)]
        bodies = await self._telling.bodies([one for _, one in accepted])
        for (each, one), body in zip(accepted, bodies, strict=True):
            each.resolve(Taken(one.job, body))

    async def _draft(self, batch: Sequence[_Pending]) -> Sequence[_Pending]:
        """Gives those that no fault was found with."""
        unread: Sequence[_Pending] = [each for each in batch if not each.item.is_read]
        for step in self._drafting.reading:
            unread = await _through(step, unread)
        left: Sequence[_Pending] = [each for each in batch if not each.answer.done()]
        sizes = await self._drafting.sizes([each.item for each in left])
        steps: Sequence[Step] = (partial(self._drafting.look_at_pictures, known=sizes), *self._drafting.pricing)
        for step in steps:
            left = await _through(step, left)
        return left


async def _through(step: Step, batch: Sequence[_Pending]) -> Sequence[_Pending]:
    """Takes each draft a step further, and gives those that it did not fail."""
    left, pause_at = [], time.perf_counter() + LOOP_HELD_UP_S
    for each in batch:
        try:
            step(each.item)
        except Exception as error:
            each.fail(error)
        else:
            left.append(each)
        if time.perf_counter() > pause_at:
            await asyncio.sleep(0)
            pause_at = time.perf_counter() + LOOP_HELD_UP_S
    return left


@asynccontextmanager
async def open_intake(drafting: Drafting, entering: Entering, telling: Telling) -> AsyncIterator[Intake]:
    intake = Intake(drafting, entering, telling)
    try:
        yield intake
    finally:
        intake.close()
