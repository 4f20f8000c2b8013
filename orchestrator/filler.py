"""Puts into the queue what PostgreSQL holds and Redis does not: all after Redis was emptied, else what was lost.

Any number of fillers may run: a job that is queued keeps its place.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count

import structlog
from redis.exceptions import RedisError

from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, Waiting
from orchestrator.foresight import Foresight

# A page is one call that keeps Redis, and this process, from all else.
PAGE = 250
# Finds what another web process stored and died before it queued; our own crash is mended when we start.
COMPARE_EVERY = timedelta(minutes=1)
# So many times as long as a page takes it rests before the next: requests come first.
REST = 4
# What is older than the newest is compared bit by bit, so that a long line costs no more than a short one.
COMPARED_AT_ONCE = 10_000
# Of two jobs the one with the lower id may be committed later, but not by so much.
COMMITTED_WITHIN = timedelta(minutes=1)

log = structlog.get_logger()


class Filler:
    def __init__(
        self, jobs: JobStore, queue: JobQueue, foresight: Foresight, *, every: timedelta, now: Callable[[], datetime]
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._foresight = foresight
        self._every = every
        self._now = now
        self._epoch: str | None = None
        self._asked = self._answered = 0
        self._compared_at = datetime.min.replace(tzinfo=UTC)
        # When comparisons ended, and the ids that they reached.
        self._marks = deque[tuple[datetime, int]]()
        self._old = 0

    async def fill_for_ever(self) -> None:
        while True:
            try:
                await self.fill()
            except (*DATABASE_AWAY, RedisError) as error:
                log.warning("filling_failed", error=repr(error))
                self.fill_soon()  # what PostgreSQL has given may not have reached the queue
            except Exception:
                log.exception("filling_broke")  # and not ended: what is lost later would be lost for good
            await asyncio.sleep(self._every.total_seconds())

    def fill_soon(self) -> None:
        """Asks for a comparison at the next look: something that was stored could not be queued."""
        self._asked += 1

    async def fill(self) -> None:
        if self._epoch is None or await self._queue.epoch() != self._epoch:
            await self._fill_all()
        elif self._asked != self._answered or self._now() - self._compared_at > COMPARE_EVERY:
            await self._compare()

    async def add(self, waiting: Sequence[Waiting]) -> None:
        """Each to the pool that should start it first; what is queued already keeps its place."""
        missing = set(await self._queue.missing((each.job_id, each.attempt) for each in waiting))
        await self._queue_all([each for each in waiting if (each.job_id, each.attempt) in missing])

    async def _queue_all(self, missing: Sequence[Waiting]) -> None:
        pool_for = self._foresight.pool_for
        await self._queue.add([each._replace(pool=pool_for(each.need)) for each in missing])

    async def _fill_all(self) -> None:
        # All is remembered as it was before the work: what happens meanwhile makes the next look compare again.
        started, asked, epoch = self._now(), self._asked, await self._marked_epoch()
        reached = await self._fill_after(0, epoch, rest=0)
        self._marks.append((self._now(), reached))
        self._compared_at, self._answered, self._epoch = started, asked, epoch

    async def _compare(self) -> None:
        """The newest jobs with the queue, and some of the others; in a few turns all of them."""
        started, asked = self._now(), self._asked
        # All up to the first mark had been committed when the last comparison began.
        while len(self._marks) > 1 and self._marks[1][0] < self._compared_at - COMMITTED_WITHIN:
            self._marks.popleft()
        reached = await self._fill_after(self._marks[0][1], self._epoch)
        self._marks.append((self._now(), reached))
        self._old = await self._fill_after(self._old, self._epoch, pages=COMPARED_AT_ONCE // PAGE, at_the_end=0)
        self._compared_at, self._answered = started, asked

    async def _fill_after(
        self,
        after: int,
        epoch: str | None,
        *,
        rest: int = REST,
        pages: int | None = None,
        at_the_end: int | None = None,
    ) -> int:
        """Queues what is not queued of the waiting jobs with higher ids, until this epoch is over: then all is missing,
        and comes in its order. Returns the id that it reached, or `at_the_end` where there are no more."""
        clock = asyncio.get_running_loop().time
        for _ in count() if pages is None else range(pages):
            began = clock()
            page = await self._jobs.waiting_after(after, limit=PAGE)
            if missing := await self._queue.missing(page):
                if await self._queue.epoch() != epoch:
                    break
                await self._queue_all(await self._jobs.waiting([job_id for job_id, _ in missing]))
            if len(page) < PAGE:
                return at_the_end if at_the_end is not None else page[-1][0] if page else after
            after = page[-1][0]
            await asyncio.sleep(rest * (clock() - began))
        return after

    async def _marked_epoch(self) -> str | None:
        if await self._queue.epoch() is None:
            await self._queue.mark_filled()
        return await self._queue.epoch()
