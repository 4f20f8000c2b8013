"""How jobs get in: many requests share one commit and one call to Redis. It does not parse or render."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import structlog
from redis.exceptions import RedisError

from jobs.errors import DarkroomError, RequestIdConflict, Unavailable
from jobs.job import Job, JobStatus, QueuePlace
from jobs.record import record
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobKey, JobStore, NewJob, Waiting
from jobs.turn import turn
from orchestrator.batcher import Batcher, Pending
from orchestrator.foresight import Foresight

FLUSH_WITHIN_S = 15
LATE = "The job may or may not have been stored; send the same request again to know."
# All jobs that come in wait for this one call: rather no rank than no answer.
QUEUE_WITHIN_S = 1

log = structlog.get_logger()


@record
class Accepted:
    """`is_new` is False where the same request had been accepted before. `place` is None for those, and while
    Redis is away."""

    job: Job
    is_new: bool
    place: QueuePlace | None = None


_Pending: TypeAlias = "Pending[NewJob, Accepted]"


class Intake:
    """Open it with `open_intake`."""

    def __init__(
        self,
        jobs: JobStore,
        queue: JobQueue,
        foresight: Foresight,
        on_unqueued: Callable[[], None],
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._foresight = foresight
        self._on_unqueued = on_unqueued
        self._batcher: Batcher[NewJob, Accepted] = Batcher(self._flush_surely, within_s=FLUSH_WITHIN_S, late=LATE)

    async def accept(self, new_job: NewJob) -> Accepted:
        """Durable when it returns.

        Raises RequestIdConflict, InsufficientCredits, TooManyWaiting, or Unavailable where the database is away.
        """
        return await self._batcher.ask(new_job)

    def close(self) -> None:
        self._batcher.close()

    async def _flush(self, batch: Sequence[_Pending]) -> None:
        try:
            created, known, refused = await self._jobs.accept([each.item for each in batch])
        except asyncpg.DataError as error:
            await self._flush_one_by_one(batch, error)
        except DATABASE_AWAY as error:
            self._on_unqueued()  # the commit may have reached it
            log.error("jobs_not_stored", jobs=len(batch), error=repr(error))
            _fail(batch, Unavailable("The database cannot be reached; send the job again."))
        else:
            places = await self._enqueue(batch, created)
            if created:
                log.info("jobs_accepted", jobs=len(created), last=max(created.values()))
            left = _refuse(batch, refused)
            _answer(left, created, {(job.account_id, job.request_id): job for job in known}, places)

    async def _flush_surely(self, batch: Sequence[_Pending]) -> None:
        try:
            await self._flush(batch)
        except asyncio.CancelledError:
            self._on_unqueued()  # too late: what was stored must still be queued
            raise
        except Exception:
            log.exception("flush_broke", jobs=len(batch))
            raise

    async def _flush_one_by_one(self, batch: Sequence[_Pending], error: Exception) -> None:
        # One row that PostgreSQL cannot hold must not fail its neighbours.
        if len(batch) == 1:
            _fail(batch, error)
        else:
            for each in batch:
                await self._flush([each])

    async def _enqueue(
        self, batch: Sequence[_Pending], created: dict[tuple[int, str], int]
    ) -> dict[tuple[int, str], QueuePlace]:
        if not created:
            return {}
        first = {each.item.key: each.item for each in reversed(batch)}
        # In the order in which they came, and not that of their ids.
        waiting = {key: self._waiting(job, created[key]) for key, job in reversed(first.items()) if key in created}
        try:
            async with asyncio.timeout(QUEUE_WITHIN_S):
                places = await self._queue.add(list(waiting.values()))
            self._foresight.promise((job.job_id, place) for job, place in zip(waiting.values(), places, strict=True))
            return dict(zip(waiting, places, strict=True))
        except (RedisError, OSError) as error:
            log.warning("jobs_not_queued", jobs=len(created), error=repr(error))
            self._on_unqueued()
            return {}

    def _waiting(self, job: NewJob, job_id: int) -> Waiting:
        its_turn = turn(job.account_id, cost_s=job.cost_s, weight=job.weight, priority=job.priority)
        return Waiting(job_id, 1, job.cost_s, its_turn, job.need, self._foresight.pool_for(job.need, job.cost_s))


@asynccontextmanager
async def open_intake(
    jobs: JobStore, queue: JobQueue, foresight: Foresight, on_unqueued: Callable[[], None]
) -> AsyncIterator[Intake]:
    """`on_unqueued` is called when jobs were stored and Redis could not be told."""
    intake = Intake(jobs, queue, foresight, on_unqueued)
    try:
        yield intake
    finally:
        intake.close()


def _refuse(batch: Sequence[_Pending], refused: Mapping[JobKey, DarkroomError]) -> Sequence[_Pending]:
    """Tells those that are refused, and gives the others."""
    if not refused:
        return batch
    for each in batch:
        if each.item.key in refused:
            _fail([each], refused[each.item.key])
    return [each for each in batch if each.item.key not in refused]


def _answer(
    batch: Sequence[_Pending],
    created: dict[tuple[int, str], int],
    known: dict[tuple[int, str], Job],
    places: dict[tuple[int, str], QueuePlace],
) -> None:
    for each in batch:
        key = each.item.key
        is_new = key in created and key not in known
        if is_new:
            known[key] = stored(each.item, created[key])
        _resolve(each, Accepted(job=known[key], is_new=is_new, place=places.get(key)))


def _resolve(pending: _Pending, accepted: Accepted) -> None:
    if pending.item.fingerprint == accepted.job.fingerprint:
        pending.resolve(accepted)
    else:
        pending.fail(conflict(accepted.job, pending.item.fingerprint))


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


def _fail(batch: Sequence[_Pending], error: Exception) -> None:
    for each in batch:
        each.fail(error)
