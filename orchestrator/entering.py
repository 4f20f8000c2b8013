"""How jobs get in: stored, many in one commit, and then queued, in one call to Redis. It does not read or tell."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TypeAlias

import asyncpg
import orjson
import structlog
from redis.exceptions import RedisError

from jobs.errors import RequestIdConflict, Unavailable
from jobs.job import Job, JobStatus, QueuePlace
from jobs.record import record
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import Acceptance, JobKey, JobStore, NewJob, Waiting
from jobs.turn import turn
from orchestrator.foresight import Foresight

# All jobs that come in wait for this one call: rather no rank than no answer.
QUEUE_WITHIN_S = 1
TELL_WITHIN_S = 1

# What a row raises that PostgreSQL, or JSON on the way there, cannot hold.
UNFIT = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, orjson.JSONEncodeError)

log = structlog.get_logger()


@record
class Accepted:
    """`is_new` is False where the same request had been accepted before. `place` is None for those, and while
    Redis is away."""

    job: Job
    is_new: bool
    place: QueuePlace | None = None


Entered: TypeAlias = Accepted | Exception
"""What became of a new job: of one that is not accepted RequestIdConflict, InsufficientCredits, TooManyWaiting,
Unavailable where the database is away, or what is said where it cannot hold it."""


class Entering:
    def __init__(self, jobs: JobStore, queue: JobQueue, foresight: Foresight, on_unqueued: Callable[[], None]) -> None:
        """`on_unqueued` is called when jobs were stored and Redis could not be told."""
        self._jobs = jobs
        self._queue = queue
        self._foresight = foresight
        self._on_unqueued = on_unqueued
        self._log = _Log()

    def close(self) -> None:
        self._log.tell()

    async def enter(self, new_jobs: Sequence[NewJob]) -> Sequence[Entered]:
        """In their order. Those that are accepted are durable when it returns."""
        try:
            return await self._enter(new_jobs)
        except asyncio.CancelledError:
            self._on_unqueued()  # too late: what was stored must still be queued
            raise
        except Exception:
            log.exception("entering_broke", jobs=len(new_jobs))
            raise

    async def _enter(self, new_jobs: Sequence[NewJob]) -> Sequence[Entered]:
        try:
            acceptance = await self._jobs.accept(new_jobs)
        except UNFIT as error:
            return await self._one_by_one(new_jobs, error)
        except DATABASE_AWAY as error:
            self._on_unqueued()  # the commit may have reached it
            log.error("jobs_not_stored", jobs=len(new_jobs), error=repr(error))
            return [Unavailable("The database cannot be reached; send the job again.")] * len(new_jobs)
        if acceptance.created:
            self._log.add(acceptance.created.values())
        places = await self._enqueue(new_jobs, acceptance.created)
        return _entered(new_jobs, acceptance, places)

    async def _one_by_one(self, new_jobs: Sequence[NewJob], error: Exception) -> Sequence[Entered]:
        # One row that PostgreSQL cannot hold must not fail its neighbours.
        if len(new_jobs) == 1:
            return [error]
        return [await self._enter_alone(each) for each in new_jobs]

    async def _enter_alone(self, new_job: NewJob) -> Entered:
        try:
            (entered,) = await self._enter([new_job])
        except Exception as error:
            return error
        return entered

    async def _enqueue(self, new_jobs: Sequence[NewJob], created: Mapping[JobKey, int]) -> Mapping[JobKey, QueuePlace]:
        if not created:
            return {}
        # In the order in which they came, and not that of their ids.
        waiting = dict[JobKey, Waiting]()
        for job in new_jobs:
            if (key := job.key) in created and key not in waiting:
                waiting[key] = self._waiting(job, created[key])
        jobs = list(waiting.values())
        try:
            async with asyncio.timeout(QUEUE_WITHIN_S):
                places = await self._queue.add(jobs)
            self._foresight.promise((job.job_id, place) for job, place in zip(jobs, places, strict=True))
            return dict(zip(waiting, places, strict=True))
        except (RedisError, OSError) as error:
            log.warning("jobs_not_queued", jobs=len(created), error=repr(error))
            self._on_unqueued()
            return {}

    def _waiting(self, job: NewJob, job_id: int) -> Waiting:
        its_turn = turn(job.account_id, cost_s=job.cost_s, weight=job.weight, priority=job.priority)
        return Waiting(job_id, 1, job.cost_s, its_turn, job.need, self._foresight.pool_for(job.need, job.cost_s))


class _Log:
    """One line a second at most: of a crowd a line for each batch would take a twentieth of the time."""

    def __init__(self) -> None:
        self._jobs = self._last = 0
        self._alarm: asyncio.TimerHandle | None = None

    def add(self, job_ids: Collection[int]) -> None:
        self._jobs += len(job_ids)
        self._last = max(self._last, *job_ids)
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(TELL_WITHIN_S, self.tell)

    def tell(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            log.info("jobs_accepted", jobs=self._jobs, last=self._last)
        self._alarm, self._jobs = None, 0


def _entered(
    new_jobs: Sequence[NewJob], acceptance: Acceptance, places: Mapping[JobKey, QueuePlace]
) -> Sequence[Entered]:
    jobs = {(job.account_id, job.request_id): job for job in acceptance.known}
    entered = list[Entered]()
    for new_job in new_jobs:
        key = new_job.key
        if refusal := acceptance.refused.get(key):
            entered.append(refusal)
        elif key in jobs:
            entered.append(_known(jobs[key], new_job, places.get(key)))
        else:
            # What its key stands for, from here on.
            jobs[key] = stored(new_job, acceptance.created[key])
            entered.append(Accepted(job=jobs[key], is_new=True, place=places.get(key)))
    return entered


def _known(job: Job, new_job: NewJob, place: QueuePlace | None) -> Entered:
    if job.fingerprint != new_job.fingerprint:
        return conflict(job, new_job.fingerprint)
    return Accepted(job=job, is_new=False, place=place)


def conflict(job: Job, fingerprint: bytes) -> RequestIdConflict:
    """Both facts: what the id stands for, and what came now."""
    return RequestIdConflict(
        f"requestId {job.request_id!r} already stands for job {job.id}, accepted at "
        f"{job.created_at.isoformat(timespec='seconds')} with a request of SHA-256 {job.fingerprint.hex()[:12]}…; "
        f"this one, body and bounds, has {fingerprint.hex()[:12]}…. Send the first one again to get that job, or "
        "choose another id."
    )


def stored(new_job: NewJob, job_id: int) -> Job:
    return Job(
        id=job_id,
        account_id=new_job.account_id,
        request_id=new_job.submission.request_id,
        fingerprint=new_job.fingerprint,
        dialect=new_job.dialect,
        submission=new_job.submission,
        credits=new_job.credits,
        status=JobStatus.WAITING,
        attempt=0,
        cost_s=new_job.cost_s,
        kind=new_job.kind,
        need=new_job.need,
        created_at=new_job.created_at,
    )
