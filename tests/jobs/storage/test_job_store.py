"""Jobs in PostgreSQL: nothing accepted is lost or made twice, and a late attempt writes nothing."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from pydantic import TypeAdapter

from jobs.errors import AttemptLost, NotFound
from jobs.events import NOTHING_YET, EventKind
from jobs.job import Failure, FailureCode, Image, Job, JobStatus
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.event_store import EventStore
from jobs.storage.job_store import JobStore, Waiting
from jobs.submission import Submission
from tests import one_job
from tests.jobs.samples import NOON, new_job, submission
from tests.jobs.storage.conftest import Rows
from tests.until import until

LEASE = timedelta(minutes=1)
LAPSED = timedelta(seconds=-1)
NO_DELAY = timedelta(0)
FAILURE = Failure(code=FailureCode.FATAL_ERROR, reason="it cannot be")
URLS = {"notify_url": "http://a.example/end", "running_notify_url": "http://a.example/running"}


async def accepted(jobs: JobStore, account_id: int, request_id: str = "r-1", need: str = "", **urls: Any) -> int:
    created, *_ = await jobs.accept([replace(new_job(account_id, request_id, **urls), need=need)])
    return created[account_id, request_id]


async def claimed(jobs: JobStore, job_id: int, attempt: int = 1, lease: timedelta = LEASE) -> Job:
    job = await one_job.claim(jobs, job_id, attempt, worker=f"worker:{attempt}", lease=lease)
    assert job is not None
    return job


def image() -> Image:
    id_ = uuid4()
    return Image(id=id_, key=f"outputs/{id_}.png", format="png", width=512, height=512)


async def kinds(rows: Rows) -> list[str]:
    return [row["kind"] for row in await rows("SELECT kind FROM job_events ORDER BY id")]


async def test_what_is_accepted_can_be_read_as_it_was_meant(jobs: JobStore, account_id: int) -> None:
    job_id = await accepted(jobs, account_id, **URLS)

    job = await jobs.get(account_id, job_id)

    assert job.submission == submission(**URLS)
    assert (job.status, job.attempt, job.created_at) == (JobStatus.WAITING, 0, NOON)
    assert job.cost_s == new_job(account_id).cost_s


async def test_a_batch_tells_new_jobs_from_known_ones(jobs: JobStore, account_id: int) -> None:
    first = await accepted(jobs, account_id, "known")

    created, known, _ = await jobs.accept([new_job(account_id, "new"), new_job(account_id, "known")])

    assert set(created) == {(account_id, "new")}
    assert [job.id for job in known] == [first]


async def test_of_two_alike_in_one_batch_the_first_becomes_the_job(jobs: JobStore, account_id: int) -> None:
    later = NOON + timedelta(seconds=5)
    twice = [new_job(account_id, body="first"), new_job(account_id, body="second", at=later)]

    created, known, _ = await jobs.accept(twice)

    assert len(created) == 1 and not known
    (job_id,) = created.values()
    assert (await jobs.get(account_id, job_id)).fingerprint == twice[0].fingerprint


async def test_batches_that_share_requests_in_another_order_never_wait_for_each_other(
    jobs: JobStore, database: Database, account_id: int, rows: Rows
) -> None:
    insert = (
        "INSERT INTO jobs (account_id, request_id, fingerprint, dialect, submission) VALUES ($1, $2, '', 'tams', $3)"
    )
    stored = TypeAdapter(Submission).dump_json(submission()).decode()
    async with database.transaction() as other:
        await other.execute(insert, account_id, "a", stored)
        accepting = asyncio.create_task(jobs.accept([new_job(account_id, "b"), new_job(account_id, "a")]))
        await until(lambda: _someone_waits(rows))
        await other.execute(insert, account_id, "b", stored)

    created, known, _ = await accepting
    assert created == {} and sorted(job.request_id for job in known) == ["a", "b"]


async def _someone_waits(rows: Rows) -> bool:
    return bool(await rows("SELECT pid FROM pg_locks WHERE NOT granted"))


async def test_an_acceptance_is_one_event_though_the_release_before_also_wrote_it(
    jobs: JobStore, database: Database, account_id: int
) -> None:
    job_id = await accepted(jobs, account_id)
    await jobs.accept([new_job(account_id)])
    async with database.connection() as connection:
        await connection.execute("INSERT INTO job_events (job_id, attempt, kind) VALUES ($1, 0, 'ACCEPTED')", job_id)
    events = EventStore(database)

    (acceptance,) = (await events.after({job_id: NOTHING_YET}))[job_id]

    assert (acceptance.id, acceptance.kind, acceptance.created_at) == (-job_id, EventKind.ACCEPTED, NOON)
    assert await events.after({job_id: acceptance.id}) == {}


async def test_an_account_stays_while_it_has_jobs(jobs: JobStore, database: Database, account_id: int) -> None:
    await accepted(jobs, account_id)

    async with database.connection() as connection:
        with pytest.raises(asyncpg.ForeignKeyViolationError, match=f"account {account_id} has jobs"):
            await connection.execute("DELETE FROM accounts WHERE id = $1", account_id)


async def test_another_account_has_its_own_request_ids_and_does_not_see_ours(
    jobs: JobStore, database: Database, account_id: int
) -> None:
    other = (await AccountStore(database).ensure("theirs")).id
    ours, theirs = await accepted(jobs, account_id), await accepted(jobs, other)

    assert ours != theirs
    with pytest.raises(NotFound):
        await jobs.get(other, ours)
    found = await jobs.find(other, "r-1")
    assert found is not None and found.id == theirs
    assert await jobs.find(other, "r-2") is None


async def test_one_of_many_workers_gets_the_job(jobs: JobStore, account_id: int) -> None:
    job_id = await accepted(jobs, account_id)

    claims = await asyncio.gather(*(one_job.claim(jobs, job_id, 1, worker=f"w{i}", lease=LEASE) for i in range(8)))

    (job,) = [each for each in claims if each is not None]
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 1)


@pytest.mark.parametrize("attempt", [0, 2, 3])
async def test_a_signal_for_another_attempt_claims_nothing(jobs: JobStore, account_id: int, attempt: int) -> None:
    job_id = await accepted(jobs, account_id)

    assert await one_job.claim(jobs, job_id, attempt, worker="w", lease=LEASE) is None
    assert (await one_job.get(jobs, job_id)).status == JobStatus.WAITING


async def test_a_claim_is_told_once_to_who_asked(jobs: JobStore, account_id: int, rows: Rows) -> None:
    await claimed(jobs, await accepted(jobs, account_id, "told", **URLS))
    await claimed(jobs, await accepted(jobs, account_id, "not told"))

    told = await rows("SELECT kind, url, state FROM deliveries")

    assert [(row["kind"], row["state"]) for row in told] == [("RUNNING", "PENDING"), ("PROGRESS", "PENDING")]
    assert {row["url"] for row in told} == {URLS["running_notify_url"]}
    assert await kinds(rows) == ["STARTED"] * 2


async def test_success_keeps_the_pictures_in_their_order(jobs: JobStore, account_id: int, rows: Rows) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id, **URLS))
    images = [image() for _ in range(4)]

    await one_job.succeed(jobs, job, images)

    ended = await jobs.get(account_id, job.id)
    assert (ended.status, list(ended.images)) == (JobStatus.SUCCESS, images)
    assert ended.finished_at is not None and ended.finished_at.tzinfo is not None
    found = await jobs.find(account_id, "r-1")
    assert found is not None and list(found.images) == images
    assert await kinds(rows) == ["STARTED", "SUCCESS"]


async def test_the_end_is_told_to_both_addresses_once_and_supersedes_the_start(
    jobs: JobStore, account_id: int, rows: Rows
) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id, **URLS))

    await jobs.fail(job.id, 1, FAILURE)

    told = {(row["kind"], row["url"], row["state"]) for row in await rows("SELECT * FROM deliveries")}
    assert told == {
        ("RUNNING", URLS["running_notify_url"], "SUPERSEDED"),
        ("PROGRESS", URLS["running_notify_url"], "SUPERSEDED"),
        ("TERMINAL", URLS["running_notify_url"], "PENDING"),
        ("TERMINAL", URLS["notify_url"], "PENDING"),
    }


async def test_one_address_for_both_hears_of_the_end_once(jobs: JobStore, account_id: int, rows: Rows) -> None:
    url = "http://a.example"
    job = await claimed(jobs, await accepted(jobs, account_id, notify_url=url, running_notify_url=url))

    await one_job.succeed(jobs, job, [image()])

    assert await rows("SELECT url FROM deliveries WHERE kind = 'TERMINAL'") == [{"url": url}]


async def test_a_failure_keeps_its_code_and_reason(jobs: JobStore, account_id: int) -> None:
    job_id = await accepted(jobs, account_id)
    await claimed(jobs, job_id)

    await jobs.fail(job_id, 1, FAILURE)

    job = await jobs.get(account_id, job_id)
    assert (job.status, job.failure) == (JobStatus.FAILED, FAILURE)


async def test_a_waiting_job_tells_what_it_needs_to_who_queues_it_again(jobs: JobStore, account_id: int) -> None:
    job_id = await accepted(jobs, account_id, need="101 7|DIFFUSION")

    assert [each.need for each in await jobs.waiting([job_id])] == ["101 7|DIFFUSION"]


async def test_a_job_given_back_waits_for_its_delay_at_its_old_place(jobs: JobStore, account_id: int) -> None:
    soon, late = [await accepted(jobs, account_id, name) for name in ("soon", "late")]
    for job_id, delay in ((soon, NO_DELAY), (late, timedelta(hours=1))):
        await claimed(jobs, job_id)
        await jobs.requeue(job_id, 1, delay=delay, reason="again")

    there = [Waiting(soon, 2, new_job(account_id).cost_s, turn=None)]
    assert await jobs.retried() == there
    assert await jobs.waiting([soon, late]) == there
    assert await jobs.waiting_after(0, limit=10) == [(soon, 2)]
    assert (await claimed(jobs, soon, 2)).attempt == 2


ENDS = ["succeed", "fail", "requeue", "renew"]


async def write(jobs: JobStore, job: Job, how: str) -> None:
    match how:
        case "succeed":
            await one_job.succeed(jobs, job, [image()])
        case "fail":
            await jobs.fail(job.id, job.attempt, FAILURE)
        case "requeue":
            await jobs.requeue(job.id, job.attempt, delay=NO_DELAY, reason="again")
        case "cancel":
            await jobs.cancel(job.account_id, job.id)
        case "renew":
            await jobs.renew_lease(job.id, job.attempt, LEASE)


async def everything(rows: Rows) -> list[Any]:
    tables = ("jobs", "job_events", "deliveries", "resources")
    return [await rows(f"SELECT * FROM {table} ORDER BY id") for table in tables]


@pytest.mark.parametrize("how", ENDS)
async def test_a_late_attempt_writes_nothing(jobs: JobStore, account_id: int, rows: Rows, how: str) -> None:
    late = await claimed(jobs, await accepted(jobs, account_id, **URLS), lease=LAPSED)
    await jobs.take_back_lapsed(max_attempts=4)
    await claimed(jobs, late.id, 2)
    before = await everything(rows)

    with pytest.raises(AttemptLost):
        await write(jobs, late, how)

    assert await everything(rows) == before


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("end", ["succeed", "fail", "requeue", "cancel"])
async def test_an_attempt_that_has_ended_writes_nothing(
    jobs: JobStore, account_id: int, rows: Rows, end: str, how: str
) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id, **URLS))
    await write(jobs, job, end)
    before = await everything(rows)

    with pytest.raises(AttemptLost):
        await write(jobs, job, how)

    assert await everything(rows) == before


async def test_a_renewed_lease_is_not_taken_back(jobs: JobStore, account_id: int) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id), lease=LAPSED)

    await jobs.renew_lease(job.id, 1, LEASE)

    assert await jobs.take_back_lapsed(max_attempts=4) == {}


async def test_a_lapsed_job_waits_again_at_once(jobs: JobStore, account_id: int, rows: Rows) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id), lease=LAPSED)

    assert await jobs.take_back_lapsed(max_attempts=4) == {job.id: "worker:1"}

    assert await jobs.retried() == [Waiting(job.id, 2, job.cost_s, turn=None)]
    assert await kinds(rows) == ["STARTED", "REQUEUED"]


async def test_a_job_that_lost_its_last_worker_fails_and_says_so(jobs: JobStore, account_id: int, rows: Rows) -> None:
    job_id = await accepted(jobs, account_id, **URLS)
    for attempt in (1, 2):
        await claimed(jobs, job_id, attempt, LAPSED)
        await jobs.take_back_lapsed(max_attempts=2)

    (lost,) = await rows("SELECT detail FROM job_events WHERE kind = 'REQUEUED'")
    assert lost["detail"] == "The worker stopped renewing its lease."
    job = await jobs.get(account_id, job_id)
    assert job.status == JobStatus.FAILED
    assert job.failure is not None and job.failure.code == FailureCode.FATAL_ERROR
    assert (await kinds(rows))[-1] == "FAILED"
    assert len(await rows("SELECT id FROM deliveries WHERE kind = 'TERMINAL'")) == 2
    # One transaction: the end, its event and its callbacks carry the same time.
    times = await rows(
        "SELECT finished_at AS time FROM jobs UNION SELECT created_at FROM job_events WHERE kind = 'FAILED' "
        "UNION SELECT created_at FROM deliveries WHERE kind = 'TERMINAL'"
    )
    assert len(times) == 1


async def test_attempts_that_were_handed_back_do_not_count(jobs: JobStore, account_id: int) -> None:
    job_id = await accepted(jobs, account_id)
    for attempt in (1, 2, 3):
        await claimed(jobs, job_id, attempt)
        await jobs.hand_back(job_id, attempt, reason="the worker was stopped", need="101|DIFFUSION")
    await claimed(jobs, job_id, 4, LAPSED)

    await jobs.take_back_lapsed(max_attempts=2)

    job = await jobs.get(account_id, job_id)
    assert (job.status, job.attempt, job.tries) == (JobStatus.WAITING, 4, 1)
    await claimed(jobs, job_id, 5, LAPSED)
    await jobs.take_back_lapsed(max_attempts=2)
    job = await jobs.get(account_id, job_id)
    assert job.failure is not None
    assert job.failure.reason == "2 workers were lost while they ran this job; it is not tried again"


async def test_sweepers_at_once_take_each_job_back_once(jobs: JobStore, account_id: int) -> None:
    ids = [await accepted(jobs, account_id, f"r-{i}") for i in range(10)]
    for job_id in ids:
        await claimed(jobs, job_id, lease=LAPSED)

    taken = await asyncio.gather(*(jobs.take_back_lapsed(max_attempts=4) for _ in range(5)))

    assert sorted(job_id for each in taken for job_id in each) == ids


async def test_waiting_jobs_come_page_by_page(jobs: JobStore, account_id: int) -> None:
    ids = [await accepted(jobs, account_id, f"r-{i}") for i in range(5)]
    await claimed(jobs, ids[2])

    first = await jobs.waiting_after(0, limit=3)
    second = await jobs.waiting_after(first[-1][0], limit=3)

    assert first == [(ids[0], 1), (ids[1], 1), (ids[3], 1)]
    assert second == [(ids[4], 1)]
    assert [each.job_id for each in await jobs.waiting(ids)] == [ids[0], ids[1], ids[3], ids[4]]


async def test_the_first_start_is_kept_over_attempts(jobs: JobStore, account_id: int) -> None:
    job_id = await accepted(jobs, account_id)
    first = await claimed(jobs, job_id)
    await jobs.requeue(job_id, 1, delay=NO_DELAY, reason="again")

    second = await claimed(jobs, job_id, 2)

    assert first.started_at == second.started_at
    assert first.started_at is not None and first.started_at <= datetime.now(UTC)


async def test_an_unknown_job_is_not_found(jobs: JobStore, account_id: int) -> None:
    with pytest.raises(NotFound):
        await jobs.get(account_id, 99)
