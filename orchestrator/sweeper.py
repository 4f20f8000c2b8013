"""Mends what crashes leave: lapsed leases, and jobs that PostgreSQL holds and Redis does not. Ends what is overdue.

Any number of sweepers may run: each step is safe to repeat.
"""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from redis.exceptions import RedisError

from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, Waiting

PAGE = 1000
# Finds what another web process stored and died before it queued; our own crash is mended when we start.
FILL_ANYWAY_EVERY = timedelta(minutes=1)
# A worker that has just parked a job must have removed its signal before there is another one of the same attempt.
UNPARK_AFTER = timedelta(seconds=1)

log = structlog.get_logger()


class Sweeper:
    def __init__(
        self,
        jobs: JobStore,
        queue: JobQueue,
        *,
        every: timedelta,
        max_attempts: int,
        now: Callable[[], datetime],
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._every = every
        self._max_attempts = max_attempts
        self._now = now
        self._epoch: str | None = None
        self._asked = self._answered = 0
        self._filled_at = datetime.min.replace(tzinfo=UTC)

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
        """Asks for a full comparison at the next sweep: something that was stored could not be queued."""
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
        is_due = self._asked != self._answered or self._now() - self._filled_at > FILL_ANYWAY_EVERY
        if is_due or await self._queue.epoch() != self._epoch:
            await self._fill()

    async def _fill(self) -> None:
        # All is remembered as it was before the work: what happens meanwhile makes the next sweep fill again.
        started, asked, epoch, after = self._now(), self._asked, await self._marked_epoch(), 0
        while page := await self._jobs.waiting(after=after, limit=PAGE):
            await self._add(page)
            after = page[-1].job_id
        self._filled_at, self._answered, self._epoch = started, asked, epoch

    async def _marked_epoch(self) -> str | None:
        if await self._queue.epoch() is None:
            await self._queue.mark_filled()
        return await self._queue.epoch()

    async def _add(self, waiting: list[Waiting]) -> None:
        if waiting:
            await self._queue.add(waiting)
