"""The web process's newest outlook: which pool a job goes to, and what it is told of its start.

It is read once a second: no request waits for it.
"""

import asyncio
import random
from collections import defaultdict
from collections.abc import Iterable

import structlog
from redis.exceptions import RedisError

from jobs.job import Estimate, JobStatus, Progress, QueuePlace, ToldJob
from jobs.need import read_need
from jobs.outlook import Outlook
from jobs.pool import NOBODY, Pool
from jobs.storage.job_queue import JobQueue
from jobs.storage.outlook_board import OutlookBoard

LOOK_EVERY_S = 1
WITHIN_S = 2
# Of all new jobs, as many as are needed to learn from.
PROMISES_AT_ONCE = 8
PROMISES_EVERY_S = 0.05

log = structlog.get_logger()


class Foresight:
    def __init__(self, board: OutlookBoard, queue: JobQueue) -> None:
        self.outlook = Outlook(spreads={})
        self._board = board
        self._queue = queue
        # Seconds of work that were sent to each pool after the outlook was made.
        self._sent_s: defaultdict[str, float] = defaultdict(float)
        self.has_looked = False
        # Every pool that this process ever saw, as it was the last time; the last seen last.
        self._seen: dict[str, Pool] = {}
        self._promising: asyncio.Task[None] | None = None

    async def look_for_ever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                self.outlook = await self._board.read()
                self._sent_s.clear()
                self.has_looked = True
                others = {name: pool for name, pool in self._seen.items() if name not in self.outlook.pools}
                self._seen = {**others, **self.outlook.pools}
        except (RedisError, OSError) as error:
            log.warning("outlook_not_read", error=repr(error))
        except Exception:
            log.exception("outlook_broke")  # and the next look is not lost with this one

    async def forget(self, workers: Iterable[str]) -> None:
        """They seem to be dead. One that is not tells of itself again."""
        await self._board.forget(*workers)

    def estimate(
        self, job: ToldJob, place: QueuePlace | None, progress: Progress | None = None, ran_s: float = 0.0
    ) -> Estimate | None:
        """None where nothing can be said. `ran_s` is for how long it has been running."""
        if job.status == JobStatus.RUNNING:
            return self.outlook.running(progress.fraction if progress else 0.0, job.kind, job.cost_s, ran_s)
        if job.status == JobStatus.WAITING and place:
            return self.outlook.waiting(place, job.kind, job.cost_s)
        return None

    def pool_for(self, need: str, cost_s: float = 0.0) -> str:
        """Where a job that needs this should start first, of the pools that can run it; `cost_s` of one that goes there
        counts until the next look. Where none can it is one that could when it had workers, which may only be away for
        a deploy; and NOBODY where none ever could."""
        able = self.outlook.able(need)
        if not able:
            asked = read_need(need)
            return next((name for name, pool in reversed(self._seen.items()) if not pool.lacks(asked)), NOBODY)
        if len(able) == 1:
            return able[0]
        pool = min(able, key=self._start_s)
        self._sent_s[pool] += cost_s
        return pool

    def _start_s(self, pool: str) -> float:
        return self.outlook.pools[pool].raw_start_s(self.outlook.work_s.get(pool, 0.0) + self._sent_s[pool])

    def missing(self, job: ToldJob, place: QueuePlace | None) -> tuple[str, ...] | None:
        """Why no worker that is alive can run it, each in a sentence; nothing where one can. None of a job that does
        not wait, and while nobody knows."""
        if job.status != JobStatus.WAITING or not self.has_looked:
            return None
        if place and place.pool in self.outlook.pools:
            return ()
        return self.outlook.missing(read_need(job.need))

    def promise(self, queued: Iterable[tuple[int, QueuePlace]]) -> None:
        """Remembers what some of these new jobs are being told, in the background: nobody waits for it. Of a crowd
        these are some in each moment: what the others are told is lost, as no measure needs it."""
        if self._promising is None or self._promising.done():
            told = list(queued)
            # At random: the first of a batch wait for less than the others, and would make waits seem short.
            some = random.sample(told, min(len(told), PROMISES_AT_ONCE))
            self._promising = asyncio.create_task(self._keep_promises(some))

    async def _keep_promises(self, queued: Iterable[tuple[int, QueuePlace]]) -> None:
        await self._remember(queued)
        await asyncio.sleep(PROMISES_EVERY_S)

    async def _remember(self, queued: Iterable[tuple[int, QueuePlace]]) -> None:
        raw = {job_id: self.outlook.raw_start_s(place) for job_id, place in queued}
        told = [(job_id, raw_s, self.outlook.start(raw_s)) for job_id, raw_s in raw.items() if raw_s is not None]
        if not told:
            return
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._queue.promise(told)
        except (RedisError, OSError) as error:
            log.warning("promises_not_kept", error=repr(error))
