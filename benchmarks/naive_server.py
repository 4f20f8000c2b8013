"""The same web process with each request by itself, one call after the other: what the batches are measured against."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jobs.job import JobStatus, JobView, QueuePlace
from jobs.pool import NOBODY
from jobs.storage.job_queue import FUNCTION, LINE
from jobs.storage.job_store import JobStore, NewJob
from orchestrator import app
from orchestrator.__main__ import main
from orchestrator.drafting import Draft, Drafting
from orchestrator.entering import Accepted, Entering, stored
from orchestrator.intake import Taken
from orchestrator.job_views import JobViews
from orchestrator.telling import Telling

# Where what no worker can run waits: here is none.
QUEUE = LINE + NOBODY


class NaiveIntake:
    """INSERT, arq's own enqueue_job, ZRANK."""

    def __init__(self, drafting: Drafting, entering: Entering, telling: Telling) -> None:
        self._drafting = drafting
        self._jobs = entering._jobs
        self._redis: Any = telling._views._queue._redis
        self._telling = telling

    async def take_in(self, draft: Draft) -> Taken:
        for step in (*self._drafting.reading, *self._drafting.pricing):
            step(draft)
        draft.accepted = await self._accept(draft.new_job)
        for step in self._telling.of_new:
            step(draft)
        return Taken(draft.accepted.job, draft.told)

    async def _accept(self, new_job: NewJob) -> Accepted:
        created, _known, _refused = await self._jobs.accept([new_job])
        job_id = created[new_job.key]
        await self._redis.enqueue_job(FUNCTION, job_id, 1, _job_id=f"{job_id}:1", _queue_name=QUEUE)
        return Accepted(job=stored(new_job, job_id), is_new=True, place=await _place(self._redis, f"{job_id}:1"))


class NaiveReader:
    """SELECT, ZRANK."""

    def __init__(self, jobs: JobStore, redis: Any) -> None:
        self._jobs = jobs
        self._redis = redis

    async def view(self, account_id: int, job_id: int) -> JobView:
        job = await self._jobs.get(account_id, job_id)
        assert job.status == JobStatus.WAITING
        return JobView(job=job, place=await _place(self._redis, f"{job_id}:1"))


async def _place(redis: Any, member: str) -> QueuePlace:
    return QueuePlace(rank=await redis.zrank(QUEUE, member) + 1, length=await redis.zcard(QUEUE))


@asynccontextmanager
async def _open_intake(drafting: Drafting, entering: Entering, telling: Telling) -> AsyncIterator[NaiveIntake]:
    yield NaiveIntake(drafting, entering, telling)


@asynccontextmanager
async def _open_job_reader(jobs: JobStore, views: JobViews) -> AsyncIterator[NaiveReader]:
    yield NaiveReader(jobs, views._queue._redis)


if __name__ == "__main__":
    assert {"open_intake", "open_job_reader"} <= vars(app).keys()
    vars(app).update(open_intake=_open_intake, open_job_reader=_open_job_reader)
    main()
