"""Mends what crashes of workers leave: lapsed leases, jobs in lines that do not move. Ends what is overdue.

Any number of sweepers may run: each step is safe to repeat.
"""

import asyncio
from datetime import timedelta

import structlog
from redis.exceptions import RedisError

from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from orchestrator.filler import Filler
from orchestrator.foresight import Foresight
from orchestrator.rerouting import Rerouter

# A worker that has just parked a job must have removed its signal before there is another one of the same attempt.
UNPARK_AFTER = timedelta(seconds=1)

log = structlog.get_logger()


class Sweeper:
    def __init__(
        self,
        jobs: JobStore,
        queue: JobQueue,
        filler: Filler,
        foresight: Foresight,
        *,
        every: timedelta,
        max_attempts: int,
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._filler = filler
        self._foresight = foresight
        self._rerouter = Rerouter(jobs, queue, foresight)
        self._every = every
        self._max_attempts = max_attempts

    async def sweep_for_ever(self) -> None:
        while True:
            try:
                await self.sweep()
            except (*DATABASE_AWAY, RedisError) as error:
                log.warning("sweep_failed", error=repr(error))
                self._filler.fill_soon()  # what PostgreSQL has given may not have reached the queue
            except Exception:
                # A sweeper that ends would leave every later crash unmended.
                log.exception("sweep_broke")
            await asyncio.sleep(self._every.total_seconds())

    async def sweep(self) -> None:
        taken_back = await self._jobs.take_back_lapsed(max_attempts=self._max_attempts)
        if taken_back:
            log.warning("leases_lapsed", job_ids=list(taken_back))
            await self._foresight.forget(taken_back.values())
        for job_id, attempt in await self._jobs.end_overdue():
            log.info("job_overdue", job_id=job_id)
            await self._queue.cancel(job_id, attempt)
        await self._filler.add(await self._jobs.retried())
        await self._filler.add(await self._jobs.unpark(parked_for=UNPARK_AFTER))
        await self._rerouter.reroute()
