"""Mends what crashes leave: lapsed leases, and jobs that PostgreSQL holds and Redis does not. Ends what is overdue.

Any number of sweepers may run: each step is safe to repeat.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count

import structlog
from redis.exceptions import RedisError

from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, Waiting
from orchestrator.foresight import Foresight
from orchestrator.rerouting import Rerouter

# A page is one call that keeps Redis, and this process, from all else.
PAGE = 250
# Finds what another web process stored and died before it queued; our own crash is mended when we start.
COMPARE_EVERY = timedelta(minutes=1)
# What is older than the newest is compared bit by bit, so that a long line costs no more than a short one.
COMPARED_AT_ONCE = 10_000
# Of two jobs the one with the lower id may be committed later, but not by so much.
COMMITTED_WITHIN = timedelta(minutes=1)
# A worker that has just parked a job must have removed its signal before there is another one of the same attempt.
UNPARK_AFTER = timedelta(seconds=1)

log = structlog.get_logger()


class Sweeper:
    def __init__(
        self,
        jobs: JobStore,
        queue: JobQueue,
        foresight: Foresight,
        *,
        every: timedelta,
        max_attempts: int,
        now: Callable[[], datetime],
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._foresight = foresight
        self._rerouter = Rerouter(jobs, queue, foresight)
        self._every = every
        self._max_attempts = max_attempts
        self._now = now
        self._epoch: str | None = None
        self._asked = self._answered = 0
        self._compared_at = datetime.min.replace(tzinfo=UTC)
        # When it was compared, and the id that it reached.
        self._marks = deque([(self._compared_at, 0)])
        self._old = 0

    async def sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except (*DATABASE_AWAY, RedisError) as error:
                log.warning("sweep_failed", error=repr(error))
                self.fill_soon()  # what PostgreSQL has given may not have reached the queue
            except Exception:
                # A sweeper that ends would leave every later crash unmended.
                log.exception("sweep_broke")
            await asyncio.sleep(self._every.total_seconds())

    def fill_soon(self) -> None:
        """Asks for a comparison at the next sweep: something that was stored could not be queued."""
        self._asked += 1

    async def sweep(self) -> None:
        taken_back = await self._jobs.take_back_lapsed(max_attempts=self._max_attempts)
        if taken_back:
            log.warning("leases_lapsed", job_ids=taken_back)
        for job_id, attempt in await self._jobs.end_overdue():
            log.info("job_overdue", job_id=job_id)
            await self._queue.cancel(job_id, attempt)
        await self._add(await self._jobs.retried())
        await self._add(await self._jobs.unpark(parked_for=UNPARK_AFTER))
        if self._epoch is None or await self._queue.epoch() != self._epoch:
            await self._fill()
        elif self._asked != self._answered or self._now() - self._compared_at > COMPARE_EVERY:
            await self._compare()
        await self._rerouter.reroute()

    async def _fill(self) -> None:
        # All is remembered as it was before the work: what happens meanwhile makes the next sweep compare again.
        started, asked, epoch = self._now(), self._asked, await self._marked_epoch()
        self._marks.append((started, await self._add_after(0)))
        self._compared_at, self._answered, self._epoch = started, asked, epoch

    async def _compare(self) -> None:
        """The newest jobs with the queue, and some of the others; in a few turns all of them."""
        started, asked = self._now(), self._asked
        while len(self._marks) > 1 and self._marks[1][0] < started - COMMITTED_WITHIN:
            self._marks.popleft()
        self._marks.append((started, await self._add_after(self._marks[0][1])))
        self._old = await self._add_after(self._old, pages=COMPARED_AT_ONCE // PAGE, at_the_end=0)
        self._compared_at, self._answered = started, asked

    async def _add_after(self, after: int, *, pages: int | None = None, at_the_end: int | None = None) -> int:
        """Queues what is not queued of the waiting jobs with higher ids. Returns the id that it reached, or
        `at_the_end` where there are no more."""
        for _ in count() if pages is None else range(pages):
            page = await self._jobs.waiting(after=after, limit=PAGE)
            await self._add(page)
            if len(page) < PAGE:
                return at_the_end if at_the_end is not None else page[-1].job_id if page else after
            after = page[-1].job_id
        return after

    async def _marked_epoch(self) -> str | None:
        if await self._queue.epoch() is None:
            await self._queue.mark_filled()
        return await self._queue.epoch()

    async def _add(self, waiting: list[Waiting]) -> None:
        if waiting:
            pool_for = self._foresight.pool_for
            await self._queue.add([replace(each, pool=pool_for(each.need)) for each in waiting])
