"""Jobs that stand in a line that does not move for them go to another: where no worker of their pool is alive, or where
another pool that can run them has workers with nothing to do. It decides no order.

Any number of web processes may do this at once: what moves is decided where the lines are, and a job stands in one.
"""

from collections import defaultdict
from collections.abc import Sequence

import structlog

from jobs.storage.job_queue import Attempt, JobQueue
from jobs.storage.job_store import JobStore, Waiting
from orchestrator.foresight import Foresight

# At each look the first so many of a line, for they are next, and as many of the others in turn.
PAGE = 1000
# The work that an idle worker is brought, until the next look at what it does.
ENOUGH_S = 2.0

log = structlog.get_logger()


class Rerouter:
    def __init__(self, jobs: JobStore, queue: JobQueue, foresight: Foresight) -> None:
        self._jobs = jobs
        self._queue = queue
        self._foresight = foresight
        self._reached: dict[str, int] = {}

    async def reroute(self) -> None:
        outlook = self._foresight.outlook
        idle = {name: pool.workers - pool.busy_workers for name, pool in outlook.pools.items() if pool.workers}
        if not idle:
            return
        for pool, work_s in outlook.work_s.items():
            if pool not in idle:
                await self._empty(pool)
            elif work_s > idle[pool] * ENOUGH_S:
                await self._help(pool, {name: number for name, number in idle.items() if number and name != pool})

    async def _empty(self, pool: str) -> None:
        """No worker takes jobs from it: what another pool can run goes there, and what waits no more is dropped."""
        for page in await self._pages(pool):
            whereto: defaultdict[str, list[Attempt]] = defaultdict(list)
            staying = []
            for job in page:
                if self._foresight.outlook.able(job.need):
                    whereto[self._foresight.pool_for(job.need, job.cost_s)].append((job.job_id, job.attempt))
                else:
                    staying.append((job.job_id, job.attempt))
            for to, moving in whereto.items():
                _tell(pool, to, await self._queue.move(pool, moving, to=to))
            await self._drop_ended(staying)

    async def _drop_ended(self, attempts: Sequence[Attempt]) -> None:
        """No worker comes by and finds that they wait no more."""
        if attempts:
            waiting = await self._jobs.still_waiting(attempts)
            await self._queue.remove(*(each for each in attempts if each[0] not in waiting))

    async def _help(self, pool: str, idle: dict[str, int]) -> None:
        """Its workers have enough to do: idle ones elsewhere, so many of each pool, are brought what they can run."""
        for page in await self._pages(pool) if idle else ():
            for to, number in idle.items():
                suited = [(job.job_id, job.attempt) for job in page if to in self._foresight.outlook.able(job.need)]
                if suited:
                    up_to_s = number * ENOUGH_S
                    _tell(pool, to, await self._queue.move(pool, suited, to=to, at_least=number, up_to_s=up_to_s))

    async def _pages(self, pool: str) -> list[list[Waiting]]:
        first = await self._queue.page(pool, 0, PAGE)
        if len(first) < PAGE:
            return [first]
        after = self._reached.get(pool, PAGE)
        due = await self._queue.page(pool, after, PAGE)
        self._reached[pool] = after + PAGE if len(due) == PAGE else PAGE
        return [first, due]


def _tell(pool: str, to: str, moved: int) -> None:
    if moved:
        log.info("jobs_rerouted", jobs=moved, pool=pool, to=to)
