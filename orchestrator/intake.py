"""How jobs get in: many requests share one commit and one call to Redis. It does not parse or render.

One flush at a time: while it is under way the next batch gathers. A flush begins when half as many jobs have come as
the last one took, or 2 ms after the first: so a lone request waits for nothing, and of a crowd that is answered at
once, and comes back at once, one half is stored while the other is parsed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import structlog
from redis.exceptions import RedisError

from jobs.errors import DarkroomError, RequestIdConflict, Unavailable
from jobs.job import Job, JobStatus, QueuePlace
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobKey, JobStore, NewJob, Waiting

MAX_BATCH = 500
GATHER_WITHIN_S = 0.002
MAX_PENDING = 20_000
# A request waits for the batch before its own, and for its own.
FLUSH_WITHIN_S = 15
# All jobs that come in wait for this one call: rather no rank than no answer.
QUEUE_WITHIN_S = 1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """`is_new` is False where the same request had been accepted before. `place` is None for those, and while
    Redis is away."""

    job: Job
    is_new: bool
    place: QueuePlace | None = None


@dataclass(slots=True)
class _Pending:
    new_job: NewJob
    answer: asyncio.Future[Accepted] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Intake:
    """Open it with `open_intake`."""

    def __init__(self, jobs: JobStore, queue: JobQueue, on_unqueued: Callable[[], None]) -> None:
        self._jobs = jobs
        self._queue = queue
        self._on_unqueued = on_unqueued
        self._pending: list[_Pending] = []
        self._expected = 0
        self._flushing: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    async def accept(self, new_job: NewJob) -> Accepted:
        """Durable when it returns.

        Raises RequestIdConflict, InsufficientCredits, TooManyWaiting, or Unavailable where the database is away.
        """
        if len(self._pending) >= MAX_PENDING:
            raise Unavailable("Too many jobs are coming in; send the job again.")
        pending = _Pending(new_job)
        self._pending.append(pending)
        self._flush_when_due()
        return await pending.answer

    def _flush_when_due(self) -> None:
        if self._flushing or not self._pending:
            return  # the end of that flush asks again
        if len(self._pending) >= self._expected:
            self._begin_flush()
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(GATHER_WITHIN_S, self._begin_flush)

    def _begin_flush(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
        self._expected = len(batch) // 2
        self._flushing = asyncio.create_task(self._flush_surely([each for each in batch if not each.answer.done()]))
        self._flushing.add_done_callback(self._end_flush)

    def _end_flush(self, _flush: asyncio.Task[None]) -> None:
        self._flushing = None
        self._flush_when_due()

    async def close(self) -> None:
        """For when no request is being answered any more: what is under way is dropped."""
        if self._alarm:
            self._alarm.cancel()
        if self._flushing:
            self._flushing.remove_done_callback(self._end_flush)
            self._flushing.cancel()

    async def _flush(self, batch: Sequence[_Pending]) -> None:
        if not batch:
            return
        try:
            async with asyncio.timeout(FLUSH_WITHIN_S):
                created, known, refused = await self._jobs.accept([each.new_job for each in batch])
        except asyncpg.DataError as error:
            await self._flush_one_by_one(batch, error)
        except TimeoutError:
            log.error("jobs_not_stored_in_time", jobs=len(batch))
            _fail(batch, Unavailable("The job may or may not have been stored; send the same request again to know."))
        except DATABASE_AWAY as error:
            log.error("jobs_not_stored", jobs=len(batch), error=repr(error))
            _fail(batch, Unavailable("The database cannot be reached; send the job again."))
        else:
            places = await self._enqueue(batch, created)
            log.info("jobs_accepted", jobs=len(created), last=max(created.values(), default=None))
            left = _refuse(batch, refused)
            _answer(left, created, {(job.account_id, job.request_id): job for job in known}, places)

    async def _flush_surely(self, batch: Sequence[_Pending]) -> None:
        # Whatever happens, every request of the batch is answered.
        try:
            await self._flush(batch)
        except Exception as error:
            log.exception("flush_broke", jobs=len(batch))
            _fail(batch, error)

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
        scores = {each.new_job.key: each.new_job.score for each in reversed(batch)}
        if not created:
            return {}
        try:
            async with asyncio.timeout(QUEUE_WITHIN_S):
                places = await self._queue.add([Waiting(id_, 1, scores[key]) for key, id_ in created.items()])
            return dict(zip(created, places, strict=True))
        except (RedisError, OSError) as error:
            log.warning("jobs_not_queued", jobs=len(created), error=repr(error))
            self._on_unqueued()
            return {}


@asynccontextmanager
async def open_intake(jobs: JobStore, queue: JobQueue, on_unqueued: Callable[[], None]) -> AsyncIterator[Intake]:
    """`on_unqueued` is called when jobs were stored and Redis could not be told."""
    intake = Intake(jobs, queue, on_unqueued)
    try:
        yield intake
    finally:
        await intake.close()


def _refuse(batch: Sequence[_Pending], refused: Mapping[JobKey, DarkroomError]) -> Sequence[_Pending]:
    """Tells those that are refused, and gives the others."""
    for each in batch:
        if each.new_job.key in refused:
            _fail([each], refused[each.new_job.key])
    return [each for each in batch if each.new_job.key not in refused]


def _answer(
    batch: Sequence[_Pending],
    created: dict[tuple[int, str], int],
    known: dict[tuple[int, str], Job],
    places: dict[tuple[int, str], QueuePlace],
) -> None:
    for each in batch:
        key = each.new_job.key
        is_new = key in created and key not in known
        if is_new:
            known[key] = _stored(each.new_job, created[key])
        _resolve(each, Accepted(job=known[key], is_new=is_new, place=places.get(key)))


def _resolve(pending: _Pending, accepted: Accepted) -> None:
    if pending.answer.done():
        return  # the client has gone
    if pending.new_job.fingerprint == accepted.job.fingerprint:
        pending.answer.set_result(accepted)
    else:
        pending.answer.set_exception(conflict(accepted.job, pending.new_job.fingerprint))


def conflict(job: Job, fingerprint: bytes) -> RequestIdConflict:
    """Both facts: what the id stands for, and what came now."""
    return RequestIdConflict(
        f"requestId {job.request_id!r} already stands for job {job.id}, accepted at "
        f"{job.created_at.isoformat(timespec='seconds')} with a body of SHA-256 {job.fingerprint.hex()[:12]}…; "
        f"this body has {fingerprint.hex()[:12]}…. Send the first body again to get that job, or choose another id."
    )


def _stored(new_job: NewJob, job_id: int) -> Job:
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
        score=new_job.score,
        created_at=new_job.created_at,
    )


def _fail(batch: Sequence[_Pending], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            each.answer.set_exception(error)
