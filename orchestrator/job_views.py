"""Jobs as their account sees them now: what PostgreSQL holds, joined with what Redis knows. It renders nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import structlog
from redis.exceptions import RedisError

from jobs.job import JobStatus, JobView, Progress, QueuePlace, ToldJob
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.progress_board import ProgressBoard
from orchestrator.foresight import Foresight
from orchestrator.running_times import RunningTimes

LIVE_STATE_WITHIN_S = 1

T = TypeVar("T")

log = structlog.get_logger()


class JobViews:
    """Any number of jobs at once: one call to Redis for all places, one for all progress."""

    def __init__(
        self, jobs: JobStore, queue: JobQueue, board: ProgressBoard, foresight: Foresight, running_times: RunningTimes
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._board = board
        self._foresight = foresight
        self._running_times = running_times

    async def of(self, jobs: Sequence[ToldJob]) -> list[JobView]:
        """In the order of `jobs`. Each that waits has its place."""
        await self._running_times.learn(jobs)
        views = await self.live(jobs)
        unplaced = [view.job for view in views if view.job.status == JobStatus.WAITING and view.place is None]
        places = await self._places_outside(unplaced) if unplaced else {}
        return [replace(view, place=places.get(view.job.id, view.place)) for view in views]

    async def live(self, jobs: Sequence[ToldJob]) -> list[JobView]:
        """The same with what Redis knows alone, and so cheap enough to be asked all the time."""
        waiting = [job for job in jobs if job.status == JobStatus.WAITING]
        running = [job for job in jobs if job.status == JobStatus.RUNNING]
        places, progress = await asyncio.gather(self._places(waiting), self._progress(running))
        return [self._view(job, places.get(job.id), progress.get(job.id)) for job in jobs]

    def _view(self, job: ToldJob, place: QueuePlace | None, progress: Progress | None) -> JobView:
        return JobView(
            job=job,
            place=place,
            progress=progress,
            estimate=self._foresight.estimate(job, place, progress, self._running_times.of(job)),
            missing=self._foresight.missing(job, place),
        )

    async def _places(self, jobs: Sequence[ToldJob]) -> dict[int, QueuePlace | None]:
        return await _known(jobs, lambda: self._queue.places([(job.id, job.attempt + 1) for job in jobs]))

    async def _places_outside(self, jobs: Sequence[ToldJob]) -> dict[int, QueuePlace]:
        """Of jobs that wait for something else than their turn, which comes behind all that wait now at the latest; and
        while Redis is away, of all."""
        pools = {job.id: self._foresight.pool_for(job.need) for job in jobs}
        try:
            async with asyncio.timeout(LIVE_STATE_WITHIN_S):
                behind = {pool: 1 + await self._queue.length(pool) for pool in set(pools.values())}
        except (RedisError, OSError) as error:
            log.warning("live_state_not_known", jobs=len(jobs), error=repr(error))
            return await self._jobs.places(jobs)
        return {job_id: QueuePlace(rank=behind[pool], length=behind[pool], pool=pool) for job_id, pool in pools.items()}

    async def _progress(self, jobs: Sequence[ToldJob]) -> dict[int, Progress | None]:
        return await _known(jobs, lambda: self._board.get([(job.id, job.attempt) for job in jobs]))


async def _known(jobs: Sequence[ToldJob], ask: Callable[[], Awaitable[list[T]]]) -> dict[int, T]:
    """The answer for each job, by id; nothing where Redis does not answer."""
    if not jobs:
        return {}
    try:
        async with asyncio.timeout(LIVE_STATE_WITHIN_S):
            answers = await ask()
    except (RedisError, OSError) as error:
        log.warning("live_state_not_known", jobs=len(jobs), error=repr(error))
        return {}
    return {job.id: answer for job, answer in zip(jobs, answers, strict=True)}
