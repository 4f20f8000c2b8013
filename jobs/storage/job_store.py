"""Jobs in PostgreSQL, the only truth. Each change of state, its event and its deliveries are one statement.

It does not queue: Redis is told by the caller after the commit.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate
from operator import attrgetter
from typing import Any, NamedTuple, TypeAlias

import orjson

from jobs.errors import AttemptLost, DarkroomError, JobEnded, NotFound
from jobs.job import Failure, FailureCode, Image, Job, JobStatus, QueuePlace, ToldJob
from jobs.listing import JobFilter, Position
from jobs.pool import NOBODY
from jobs.record import record
from jobs.standing import Standing
from jobs.storage.database import Connection, Database, queries, rows_of
from jobs.storage.job_rows import images_of, job_of, told_of
from jobs.storage.ledger import locked_standings
from jobs.storage.submission_json import dumped
from jobs.submission import Submission
from jobs.turn import Turn, turn

JobKey: TypeAlias = tuple[int, str]
"""Account and request id: what a job is known by before it has an id."""

_RUNNING = (JobStatus.RUNNING,)
_UNFINISHED = (JobStatus.WAITING, JobStatus.RUNNING)


@record
class NewJob:
    """A submission on its way in. `fingerprint` tells bodies apart, `credits` is its price, `need` is what it asks of a
    worker, as `Need` writes it.

    `cost_s`, the worker's seconds it should take, and the account's `weight` and `priority` make its turn.
    """

    account_id: int
    fingerprint: bytes
    dialect: str
    submission: Submission
    credits: Decimal
    cost_s: float
    kind: str = ""
    need: str = ""
    weight: float = 1.0
    priority: int = 0
    created_at: datetime

    @property
    def key(self) -> JobKey:
        return self.account_id, self.submission.request_id


class Acceptance(NamedTuple):
    """What became of a batch: the ids of new jobs, the jobs that were there before, and why the others are refused.

    `refused` holds InsufficientCredits and TooManyWaiting.
    """

    created: dict[JobKey, int]
    known: list[Job]
    refused: dict[JobKey, DarkroomError]


class Waiting(NamedTuple):
    """A job that belongs in the queue. `attempt` is the one that its next claim will have. `need` is what it asks of a
    worker, as `Need` writes it; in the line of `pool` it stands.

    `turn` None: it has had its turn already and comes back, to the front.
    """

    job_id: int
    attempt: int
    cost_s: float
    turn: Turn | None
    need: str = ""
    pool: str = NOBODY


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """What a waiting job waits for besides its turn: room in its account, and the rest of a delay."""

    is_parked: bool
    held_s: float


@dataclass(frozen=True, slots=True)
class Success:
    """What an attempt came to. `note` goes into the event."""

    job: Job
    images: Sequence[Image]
    note: str | None


@dataclass(frozen=True, slots=True)
class _Ending:
    """A job's end. `attempt` None: whichever there is."""

    job_id: int
    attempt: int | None
    status: JobStatus
    failure: Failure | None = None
    note: str | None = None


class JobStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(self, new_jobs: Sequence[NewJob]) -> Acceptance:
        """Inserts what is new and within its account's limits. Of jobs that do not all fit, the first come first."""
        async with self._database.connection() as connection:
            created = await _insert(connection, new_jobs)
            if len(created) == len(new_jobs):
                return Acceptance(created, [], {})
            known = await self._known(connection, new_jobs, created)
            undecided = _without(new_jobs, created, known)
            if not undecided:
                return Acceptance(created, known, {})
            async with connection.transaction():
                choice = await self._accept_what_fits(connection, undecided)
            return Acceptance(created | choice.created, known + choice.known, choice.refused)

    async def _accept_what_fits(self, connection: Connection, new_jobs: Sequence[NewJob]) -> Acceptance:
        standings = await locked_standings(connection, {job.account_id for job in new_jobs})
        # Again, now that no other batch of these accounts is under way: a repeat must not count twice.
        known = await self._known(connection, new_jobs, {})
        fitting, refused = _choose(_without(new_jobs, {}, known), standings)
        return Acceptance(await _insert(connection, fitting), known, refused)

    async def _known(self, connection: Connection, new_jobs: Sequence[NewJob], created: dict[JobKey, int]) -> list[Job]:
        keys = sorted({job.key for job in new_jobs} - created.keys())
        return await self._by_request(connection, keys) if keys else []

    async def get(self, account_id: int, job_id: int) -> Job:
        """Raises NotFound, also for another account's job."""
        async with self._database.connection() as connection:
            row = await queries.job_of_account(connection, job_id=job_id, account_id=account_id)
            if row is None:
                raise NotFound(f"There is no job {job_id}.")
            images = await images_of(connection, [row])
        return job_of(row, images[job_id])

    async def told(self, job_ids: Collection[int]) -> list[ToldJob]:
        """Those of them that there are."""
        async with self._database.connection() as connection:
            return told_of(await rows_of(queries.told_jobs(connection, job_ids=list(job_ids))))

    async def find(self, account_id: int, request_id: str) -> Job | None:
        """The job that this request id stands for, if any."""
        async with self._database.connection() as connection:
            jobs = await self._by_request(connection, [(account_id, request_id)])
            return jobs[0] if jobs else None

    async def page(self, account_id: int, asked: JobFilter) -> tuple[list[Job], Position | None]:
        """The jobs asked for, newest first, and where the next page begins if there is one."""
        query = queries.page_of_jobs if asked.request_id is None else queries.page_of_request
        async with self._database.connection() as connection:
            rows = await rows_of(query(connection, account_id=account_id, **_conditions(asked)))
            page = rows[: asked.limit]
            images = await images_of(connection, page)
        jobs = [job_of(row, images[row["id"]]) for row in page]
        is_last = len(rows) <= asked.limit
        return jobs, None if is_last else Position(created_at=jobs[-1].created_at, id=jobs[-1].id)

    async def running_at(self, worker: str | None) -> int:
        """How many jobs this worker, or any, has begun and not ended."""
        async with self._database.connection() as connection:
            return int(await queries.jobs_running_at(connection, worker=worker))

    async def places(self, jobs: Sequence[ToldJob]) -> dict[int, QueuePlace]:
        """Where waiting jobs would stand if the first to come were the first to start, by id. Only the queue knows
        the fair order."""
        ids = sorted(job.id for job in jobs)
        async with self._database.connection() as connection:
            rows = await rows_of(queries.waiting_between(connection, ids=ids))
        waiting = {row["ids_reached"]: row["jobs"] for row in rows}
        before = dict(zip(ids, accumulate(waiting.get(i, 0) for i in range(len(ids))), strict=True))
        return {job.id: QueuePlace(rank=before[job.id] + 1, length=sum(waiting.values())) for job in jobs}

    async def hold(self, job_id: int) -> Hold:
        """Of a job that there is."""
        async with self._database.connection() as connection:
            return Hold(**await queries.hold_of_job(connection, job_id=job_id))

    async def claim_all(self, attempts: Sequence[tuple[int, int]], *, worker: str, lease: timedelta) -> list[Job]:
        """Makes these attempts (job, number) the ones that may write, and gives their jobs.

        Leaves out those that are no longer waiting for them, and those whose accounts run as many jobs as they may:
        these are parked, and `unpark` gives them. Asked again, it gives a worker again what it has claimed: but what it
        is at work on it must not ask for.
        """
        ids, numbers = (list(each) for each in zip(*attempts, strict=True))
        async with self._database.connection() as connection:
            found = queries.claim_jobs(connection, job_ids=ids, attempts=numbers, worker=worker, lease=lease)
            rows = {(row["id"], row["attempt"]): row for row in await rows_of(found)}
        return [job_of(rows[attempt], ()) for attempt in attempts if attempt in rows]

    async def renew_lease(self, job_id: int, attempt: int, lease: timedelta) -> None:
        """Raises AttemptLost if the attempt may no longer write."""
        async with self._database.connection() as connection:
            row = await queries.renew_lease(connection, job_id=job_id, attempt=attempt, lease=lease)
        if row is None:
            raise AttemptLost

    async def succeed_all(self, successes: Sequence[Success]) -> set[tuple[int, int]]:
        """Gives the attempts (job, number) that ended. The others were lost: nothing was written of them."""
        ends = [_Ending(each.job.id, each.job.attempt, JobStatus.SUCCESS, note=each.note) for each in successes]
        async with self._database.connection() as connection:
            return set((await _end_all(connection, ends, _RUNNING, successes)).items())

    async def fail(self, job_id: int, attempt: int, failure: Failure) -> None:
        """Raises AttemptLost if another attempt took over."""
        async with self._database.connection() as connection:
            await _end(connection, _Ending(job_id, attempt, JobStatus.FAILED, failure))

    async def cancel(self, account_id: int, job_id: int) -> int:
        """Ends it whether it waits or runs, and gives its last attempt. What is canceled already stays so.

        Raises NotFound, and JobEnded where the job ended in another way.
        """
        await self.get(account_id, job_id)
        try:
            async with self._database.connection() as connection:
                return await _end(connection, _Ending(job_id, None, JobStatus.CANCELED), _UNFINISHED)
        except AttemptLost as error:
            job = await self.get(account_id, job_id)
            if job.status != JobStatus.CANCELED:
                raise JobEnded(f"Job {job_id} has ended already: {job.status}. It cannot be canceled.") from error
            return job.attempt

    async def requeue(self, job_id: int, attempt: int, *, delay: timedelta, reason: str) -> None:
        """Gives the job back after a failure, to be claimed again after `delay`. Raises AttemptLost."""
        async with self._database.connection() as connection:
            await _requeue(connection, job_id, attempt, delay=delay, reason=reason)

    async def hand_back(self, job_id: int, attempt: int, *, reason: str, need: str) -> None:
        """Gives the job back at once, and does not count the attempt against it. `need` is kept: an older release may
        not have known it. Raises AttemptLost."""
        async with self._database.connection() as connection:
            await _requeue(connection, job_id, attempt, delay=timedelta(0), reason=reason, handed_back=1, need=need)

    async def take_back_lapsed(self, *, max_attempts: int, limit: int = 100) -> dict[int, str]:
        """Requeues jobs whose worker has stopped renewing; fails those that used up their attempts.

        Returns the workers of the jobs it moved, by the jobs' ids.
        """
        async with self._database.transaction() as connection:
            rows = await rows_of(queries.lapsed_jobs(connection, limit=limit))
            # By account, because to end a job locks its account: all who lock several do so in this order.
            for row in sorted(rows, key=lambda row: row["account_id"]):
                await _take_back(connection, row, max_attempts)
            return {row["id"]: row["worker"] for row in rows}

    async def end_overdue(self, *, limit: int = 100) -> list[tuple[int, int]]:
        """Ends jobs whose account gave them a time to start, or to end, that is over. Returns them with their last
        attempts."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.overdue_jobs(connection, limit=limit))
        return [each for row in rows if (each := await self._end_overdue(row)) is not None]

    async def _end_overdue(self, row: Any) -> tuple[int, int] | None:
        reason = f"the job did not {'end' if row['ended'] else 'start'} within the time that its request allowed"
        failure = Failure(code=FailureCode.TRANSITORY_ERROR, reason=reason)
        try:
            async with self._database.connection() as connection:
                # What has started meanwhile has kept its time to start.
                leaving = _UNFINISHED if row["ended"] else (JobStatus.WAITING,)
                return row["id"], await _end(connection, _Ending(row["id"], None, JobStatus.FAILED, failure), leaving)
        except AttemptLost:
            return None

    async def waiting_after(self, job_id: int, *, limit: int) -> list[tuple[int, int]]:
        """A page of the jobs that belong in the queue, with higher ids, and of each the attempt that comes."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.waiting_after(connection, after=job_id, limit=limit))
            return [(row["id"], row["attempt"] + 1) for row in rows]

    async def waiting(self, job_ids: Collection[int]) -> list[Waiting]:
        """Those of them that belong in the queue, by id."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.waiting_jobs(connection, job_ids=job_ids))
            return [_waiting(row) for row in rows]

    async def retried(self, *, limit: int = 1000) -> list[Waiting]:
        """The jobs given back by an attempt whose delay is over."""
        async with self._database.connection() as connection:
            return [_waiting(row) for row in await rows_of(queries.retried_jobs(connection, limit=limit))]

    async def still_waiting(self, attempts: Collection[tuple[int, int]]) -> set[int]:
        """Which of these jobs wait for just this attempt."""
        expected = dict(attempts)
        async with self._database.connection() as connection:
            rows = await rows_of(queries.attempts_that_wait(connection, job_ids=list(expected)))
        return {row["id"] for row in rows if row["attempt"] + 1 == expected[row["id"]]}

    async def unpark(self, *, parked_for: timedelta, limit: int = 1000) -> list[Waiting]:
        """The jobs that claims parked at least so long ago, and that their accounts now have room for; of each account
        at most `limit`."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.unpark_jobs(connection, parked_for=parked_for, limit=limit))
        return [_waiting(row) for row in sorted(rows, key=lambda row: row["id"])]

    async def _by_request(self, connection: Connection, keys: Sequence[tuple[int, str]]) -> list[Job]:
        accounts, requests = zip(*keys, strict=True)
        rows = await rows_of(
            queries.jobs_by_request(connection, account_ids=list(accounts), request_ids=list(requests))
        )
        images = await images_of(connection, rows)
        return [job_of(row, images[row["id"]]) for row in rows]


async def _insert(connection: Connection, new_jobs: Sequence[NewJob]) -> dict[JobKey, int]:
    # In one order everywhere: two batches that share keys in another order would wait for each other.
    in_order = sorted(new_jobs, key=attrgetter("key"))
    jobs = orjson.dumps([_row(job) for job in in_order]).decode()
    submissions = "\n".join([dumped(job.submission) for job in in_order])
    rows = await rows_of(queries.accept_jobs(connection, jobs=jobs, submissions=submissions))
    return {(account_id, request_id): job_id for job_id, account_id, request_id in rows}


def _without(new_jobs: Sequence[NewJob], created: dict[JobKey, int], known: Sequence[Job]) -> Sequence[NewJob]:
    """The first job of each key that is neither among `created` nor `known`."""
    decided = created.keys() | {(job.account_id, job.request_id) for job in known}
    first: dict[JobKey, NewJob] = {}
    for job in new_jobs:
        first.setdefault(job.key, job)
    return [job for key, job in first.items() if key not in decided]


def _choose(
    new_jobs: Sequence[NewJob], standings: dict[int, Standing]
) -> tuple[list[NewJob], dict[JobKey, DarkroomError]]:
    """Which of these are accepted, one after the other, and why the others are not."""
    fitting, refused = [], dict[JobKey, DarkroomError]()
    for job in new_jobs:
        standing = standings[job.account_id]
        refusal = standing.refusal(job.credits)
        if refusal is None:
            fitting.append(job)
            standings[job.account_id] = standing.with_job(job.credits)
        else:
            refused[job.key] = refusal
    return fitting, refused


async def _end(connection: Connection, ending: _Ending, leaving: Sequence[JobStatus] = _RUNNING) -> int:
    """Gives the attempt that it ended. Raises AttemptLost."""
    attempts = await _end_all(connection, [ending], leaving)
    if not attempts:
        raise AttemptLost
    return attempts[ending.job_id]


async def _end_all(
    connection: Connection,
    endings: Sequence[_Ending],
    leaving: Sequence[JobStatus],
    successes: Sequence[Success] = (),
) -> dict[int, int]:
    """The attempts that it ended, by job."""
    made = [(each.job, *image) for each in successes for image in enumerate(each.images)]
    rows = await rows_of(
        queries.end_jobs(
            connection,
            job_ids=[each.job_id for each in endings],
            attempts=[each.attempt for each in endings],
            statuses=[each.status.value for each in endings],
            failure_codes=[each.failure and each.failure.code.value for each in endings],
            failure_reasons=[each.failure and each.failure.reason for each in endings],
            notes=[each.note for each in endings],
            leaving=[each.value for each in leaving],
            image_ids=[image.id for _, _, image in made],
            image_job_ids=[job.id for job, _, _ in made],
            image_attempts=[job.attempt for job, _, _ in made],
            positions=[position for _, position, _ in made],
            keys=[image.key for _, _, image in made],
            formats=[image.format for _, _, image in made],
            widths=[image.width for _, _, image in made],
            heights=[image.height for _, _, image in made],
            expires_ats=[image.expires_at for _, _, image in made],
        )
    )
    return {row["id"]: row["attempt"] for row in rows}


async def _requeue(
    connection: Connection,
    job_id: int,
    attempt: int,
    *,
    delay: timedelta,
    reason: str,
    handed_back: int = 0,
    need: str | None = None,
) -> None:
    row = await queries.requeue_job(
        connection, job_id=job_id, attempt=attempt, delay=delay, reason=reason, handed_back=handed_back, need=need
    )
    if row is None:
        raise AttemptLost


async def _take_back(connection: Connection, row: Any, max_attempts: int) -> None:
    job_id, attempt, tries = row["id"], row["attempt"], row["attempt"] - row["handed_back"]
    if tries < max_attempts:
        reason = "The worker stopped renewing its lease."
        await _requeue(connection, job_id, attempt, delay=timedelta(0), reason=reason)
        return
    lost = "1 worker was lost while it" if tries == 1 else f"{tries} workers were lost while they"
    reason = f"{lost} ran this job; it is not tried again"
    failure = Failure(code=FailureCode.FATAL_ERROR, reason=reason)
    await _end(connection, _Ending(job_id, attempt, JobStatus.FAILED, failure))


def _row(job: NewJob) -> dict[str, Any]:
    """As JSON holds it; what it asks for goes beside it."""
    return {
        "account_id": job.account_id,
        "request_id": job.submission.request_id,
        "fingerprint": f"\\x{job.fingerprint.hex()}",
        "dialect": job.dialect,
        "credits": str(job.credits),
        "cost_s": job.cost_s,
        "work_kind": job.kind,
        "need": job.need,
        "weight": job.weight,
        "priority": job.priority,
        "created_at": job.created_at,
    }


def _conditions(asked: JobFilter) -> dict[str, Any]:
    return {
        "request_id": asked.request_id,
        "statuses": [status.value for status in asked.statuses],
        "created_after": asked.created_after,
        "created_before": asked.created_before,
        "last_time": asked.before.created_at,
        "last_id": asked.before.id,
        "limit": asked.limit + 1,  # whether there is a next page
    }


def _waiting(row: Any) -> Waiting:
    is_new, cost_s = row["attempt"] == 0, row["cost_s"]
    its_turn = turn(row["account_id"], cost_s=cost_s, weight=row["weight"], priority=row["priority"])
    return Waiting(row["id"], row["attempt"] + 1, cost_s, its_turn if is_new else None, row["need"])
