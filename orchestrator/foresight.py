"""The web process's newest outlook, and what it tells of starts. It reads it once a second: no request waits for it."""

import asyncio
import random
from collections.abc import Iterable

import structlog
from redis.exceptions import RedisError

from jobs.job import Estimate, JobStatus, Progress, QueuePlace, ToldJob
from jobs.outlook import Outlook
from jobs.storage.job_queue import JobQueue
from jobs.storage.outlook_board import OutlookBoard

LOOK_EVERY_S = 1
WITHIN_S = 2
# Of all new jobs, as many as are needed to learn from.
PROMISES_AT_ONCE = 8

log = structlog.get_logger()


class Foresight:
    def __init__(self, board: OutlookBoard, queue: JobQueue) -> None:
        self.outlook = Outlook(spreads={})
        self._board = board
        self._queue = queue
        self._unpromised: list[tuple[int, QueuePlace]] = []
        self._promising: asyncio.Task[None] | None = None

    async def look_for_ever(self) -> None:
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        try:
            async with asyncio.timeout(WITHIN_S):
                self.outlook = await self._board.read()
        except (RedisError, OSError) as error:
            log.warning("outlook_not_read", error=repr(error))
        except Exception:
            log.exception("outlook_broke")  # and the next look is not lost with this one

    def estimate(self, job: ToldJob, place: QueuePlace | None, progress: Progress | None = None) -> Estimate | None:
        """None where nothing can be said."""
        if job.status == JobStatus.RUNNING:
            return self.outlook.running(progress.fraction if progress else 0.0, job.kind, job.cost_s)
        if job.status == JobStatus.WAITING and place and place.work_before_s is not None:
            return self.outlook.waiting(place.work_before_s, place.ahead_s, job.kind, job.cost_s)
        return None

    def promise(self, queued: Iterable[tuple[int, QueuePlace]]) -> None:
        """Remembers what some of these new jobs are being told, in the background: nobody waits for it."""
        self._unpromised += queued
        if len(self._unpromised) > PROMISES_AT_ONCE:
            # At random: the first of a batch wait for less than the others, and would make waits seem short.
            self._unpromised = random.sample(self._unpromised, PROMISES_AT_ONCE)
        if self._promising is None or self._promising.done():
            self._promising = asyncio.create_task(self._keep_promises())

    async def _keep_promises(self) -> None:
        while self._unpromised:
            queued, self._unpromised = self._unpromised, []
            await self._remember(queued)

    async def _remember(self, queued: Iterable[tuple[int, QueuePlace]]) -> None:
        raw = {job_id: self.outlook.raw_start_s(place.work_before_s or 0.0, place.ahead_s) for job_id, place in queued}
        told = [(job_id, raw_s, self.outlook.start(raw_s)) for job_id, raw_s in raw.items() if raw_s is not None]
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._queue.promise(told)
        except (RedisError, OSError) as error:
            log.warning("promises_not_kept", error=repr(error))
