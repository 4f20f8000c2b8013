"""A cancel ends a job once, whatever else would end it at the same moment."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import pytest

from jobs.errors import AttemptLost, JobEnded, NotFound
from jobs.job import Failure, FailureCode, Image, Job, JobStatus
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.job_store import JobStore
from tests import one_job
from tests.jobs.samples import new_job
from tests.jobs.storage.conftest import Rows

LEASE = timedelta(minutes=1)
LAPSED = timedelta(seconds=-1)
URLS = {"notify_url": "http://a.example/end", "running_notify_url": "http://a.example/running"}
FAILURE = Failure(code=FailureCode.FATAL_ERROR, reason="it cannot be")


async def accepted(jobs: JobStore, account_id: int, request_id: str = "r-1") -> int:
    created, *_ = await jobs.accept([new_job(account_id, request_id, **URLS)])
    return created[account_id, request_id]


async def claimed(jobs: JobStore, job_id: int, lease: timedelta = LEASE) -> Job:
    job = await one_job.claim(jobs, job_id, 1, worker="w", lease=lease)
    assert job is not None
    return job


def image() -> Image:
    return Image(id=uuid4(), key="outputs/x.png", format="png", width=512, height=512)


async def test_a_waiting_job_ends_at_once_and_is_never_drawn(jobs: JobStore, account_id: int, rows: Rows) -> None:
    job_id = await accepted(jobs, account_id)

    assert await jobs.cancel(account_id, job_id) == 0

    job = await jobs.get(account_id, job_id)
    assert (job.status, job.failure, job.finished_at is None) == (JobStatus.CANCELED, None, False)
    assert await one_job.claim(jobs, job_id, 1, worker="w", lease=LEASE) is None
    assert await jobs.waiting_after(0, limit=10) == []
    assert [row["kind"] for row in await rows("SELECT kind FROM job_events ORDER BY id")] == ["CANCELED"]


async def test_the_end_of_a_running_job_is_told_and_supersedes_its_start(
    jobs: JobStore, account_id: int, rows: Rows
) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id))

    assert await jobs.cancel(account_id, job.id) == 1

    told = {(row["kind"], row["url"], row["state"]) for row in await rows("SELECT * FROM deliveries")}
    assert told == {
        ("RUNNING", URLS["running_notify_url"], "SUPERSEDED"),
        ("PROGRESS", URLS["running_notify_url"], "SUPERSEDED"),
        ("TERMINAL", URLS["running_notify_url"], "PENDING"),
        ("TERMINAL", URLS["notify_url"], "PENDING"),
    }
    times = await rows(
        "SELECT finished_at AS time FROM jobs UNION SELECT created_at FROM job_events WHERE kind = 'CANCELED' "
        "UNION SELECT created_at FROM deliveries WHERE kind = 'TERMINAL'"
    )
    assert len(times) == 1, "one transaction"


async def test_a_job_between_two_attempts_can_be_canceled(jobs: JobStore, account_id: int) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id))
    await jobs.requeue(job.id, 1, delay=timedelta(hours=1), reason="again")

    assert await jobs.cancel(account_id, job.id) == 1

    assert (await jobs.get(account_id, job.id)).status == JobStatus.CANCELED


async def test_a_second_cancel_changes_nothing(jobs: JobStore, account_id: int, rows: Rows) -> None:
    job_id = await accepted(jobs, account_id)

    answers = await asyncio.gather(*(jobs.cancel(account_id, job_id) for _ in range(8)))

    assert answers == [0] * 8
    assert len(await rows("SELECT id FROM job_events WHERE kind = 'CANCELED'")) == 1
    assert len(await rows("SELECT id FROM deliveries")) == 2


@pytest.mark.parametrize("status", [JobStatus.SUCCESS, JobStatus.FAILED])
async def test_what_ended_in_another_way_stays_so(jobs: JobStore, account_id: int, status: JobStatus) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id))
    await (one_job.succeed(jobs, job, [image()]) if status == JobStatus.SUCCESS else jobs.fail(job.id, 1, FAILURE))

    with pytest.raises(JobEnded, match=status):
        await jobs.cancel(account_id, job.id)

    assert (await jobs.get(account_id, job.id)).status == status


async def test_another_account_can_cancel_nothing(jobs: JobStore, database: Database, account_id: int) -> None:
    other = (await AccountStore(database).ensure("theirs")).id
    job_id = await accepted(jobs, account_id)

    for account, id_ in ((other, job_id), (account_id, job_id + 1)):
        with pytest.raises(NotFound):
            await jobs.cancel(account, id_)

    assert (await jobs.get(account_id, job_id)).status == JobStatus.WAITING


async def test_of_all_that_would_end_a_job_at_once_one_does(jobs: JobStore, account_id: int, rows: Rows) -> None:
    chooser = random.Random(3)
    ids = [await accepted(jobs, account_id, f"r-{i}") for i in range(60)]
    seen = set()
    for job_id in ids:
        job = await claimed(jobs, job_id, chooser.choice([LEASE, LAPSED]))
        seen.add(await _race(jobs, job, chooser))

    assert JobStatus.CANCELED in seen and len(seen) > 1, "a race that always ends alike is none"
    ends = await rows("SELECT job_id, kind FROM job_events WHERE kind IN ('SUCCESS', 'FAILED', 'CANCELED') ORDER BY 1")
    statuses = await rows("SELECT id AS job_id, status AS kind FROM jobs ORDER BY id")
    assert ends == statuses
    told = await rows("SELECT job_id, count(*) FROM deliveries WHERE kind = 'TERMINAL' GROUP BY 1 ORDER BY 1")
    assert told == [{"job_id": job_id, "count": 2} for job_id in ids]
    with_pictures = await rows("SELECT job_id FROM resources ORDER BY 1")
    assert with_pictures == [{"job_id": row["job_id"]} for row in statuses if row["kind"] == "SUCCESS"]


async def _race(jobs: JobStore, job: Job, chooser: random.Random) -> JobStatus:
    """The cancel and any of the others, in any order; how the job ended."""
    others: list[Callable[[], Awaitable[object]]] = [
        lambda: one_job.succeed(jobs, job, [image()]),
        lambda: jobs.fail(job.id, 1, FAILURE),
        lambda: jobs.requeue(job.id, 1, delay=timedelta(0), reason="again"),
        lambda: jobs.take_back_lapsed(max_attempts=5),
        lambda: one_job.claim(jobs, job.id, 2, worker="next", lease=LEASE),
    ]
    racers = chooser.sample(others, chooser.randint(0, len(others)))
    place = chooser.randint(0, len(racers))
    racers.insert(place, lambda: jobs.cancel(job.account_id, job.id))
    answers = await asyncio.gather(*(race() for race in racers), return_exceptions=True)

    lost = [answer for answer in answers if isinstance(answer, BaseException)]
    assert all(isinstance(each, AttemptLost | JobEnded) for each in lost), lost
    status = (await one_job.get(jobs, job.id)).status
    assert isinstance(answers[place], JobEnded) == (status != JobStatus.CANCELED)
    return status
