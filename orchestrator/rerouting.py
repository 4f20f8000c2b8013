"""Jobs that stand in a line that does not move for them go to another: where no worker of their pool is alive, or where
another pool that can run them has workers with nothing to do. It decides no order.

Any number of web processes may do this at once: a job stands in one line at a time, whoever put it there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import structlog

from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import Waiting
from orchestrator.foresight import Foresight

# Of a line that has no workers, so many are looked at in turn; of one whose workers are busy, the first.
PAGE, FIRST = 1000, 32
# The work that idle workers are brought, until the next look at what they do.
ENOUGH_S = 2.0

log = structlog.get_logger()


class Rerouter:
    def __init__(self, queue: JobQueue, foresight: Foresight) -> None:
        self._queue = queue
        self._foresight = foresight
        self._reached: dict[str, int] = {}

    async def reroute(self) -> None:
        outlook = self._foresight.outlook
        if not outlook.pools:
            return
        for pool in outlook.work_s:
            if pool not in outlook.pools:
                await self._leave(pool)
            elif outlook.pools[pool].busy_workers == outlook.pools[pool].workers:
                await self._move(list(self._to_the_idle(pool, await self._queue.page(pool, 0, FIRST))))

    async def _leave(self, pool: str) -> None:
        """Of this line the next page, as far as another pool can run it."""
        after = self._reached.get(pool, 0)
        page = await self._queue.page(pool, after, PAGE)
        moved = list(self._elsewhere(page))
        await self._move(moved)
        self._reached[pool] = after + len(page) - len(moved) if len(page) == PAGE else 0

    def _elsewhere(self, page: Sequence[Waiting]) -> Iterator[Waiting]:
        for job in page:
            if self._foresight.outlook.able(job.need):
                yield replace(job, pool=self._foresight.pool_for(job.need, job.cost_s))

    def _to_the_idle(self, pool: str, page: Sequence[Waiting]) -> Iterator[Waiting]:
        outlook = self._foresight.outlook
        room_s = {
            name: (each.workers - each.busy_workers) * ENOUGH_S
            for name, each in outlook.pools.items()
            if name != pool and name not in outlook.work_s
        }
        for job in page:
            for name in outlook.able(job.need):
                if room_s.get(name, 0.0) > 0:
                    room_s[name] -= job.cost_s
                    yield replace(job, pool=name)
                    break

    async def _move(self, jobs: Sequence[Waiting]) -> None:
        """Should this process end in between, the sweeper finds that they are in no line."""
        if jobs:
            await self._queue.remove(*((job.job_id, job.attempt) for job in jobs))
            await self._queue.add(jobs)
            log.info("jobs_rerouted", jobs=len(jobs), pools=sorted({job.pool for job in jobs}))
