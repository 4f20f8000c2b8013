"""Several attempts claimed and ended in one statement are as if each had been by itself."""

import asyncio
from datetime import timedelta

from jobs.job import Job, JobStatus
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database, queries, rows_of
from jobs.storage.job_store import JobStore, Success
from tests import one_job
from tests.jobs.samples import new_job
from tests.jobs.storage.conftest import Rows
from tests.jobs.storage.test_job_store import image

LEASE = timedelta(minutes=1)


async def accepted(jobs: JobStore, account_id: int, number: int) -> list[int]:
    ids = []
    for i in range(number):
        created, *_ = await jobs.accept([new_job(account_id, f"r-{i}")])
        ids += created.values()
    return ids


async def claimed(jobs: JobStore, ids: list[int], worker: str = "one:1") -> list[Job]:
    return await jobs.claim_all([(job_id, 1) for job_id in ids], worker=worker, lease=LEASE)


def succeeded(job: Job) -> Success:
    return Success(job, [image(), image()], f"note of {job.id}")


async def test_claimed_are_those_that_wait_for_their_attempt_in_the_order_that_was_asked_for(
    jobs: JobStore, account_id: int
) -> None:
    first, second, canceled, tried = await accepted(jobs, account_id, 4)
    await jobs.cancel(account_id, canceled)
    await one_job.claim(jobs, tried, 1, worker="other:1", lease=LEASE)
    await jobs.requeue(tried, 1, delay=timedelta(0), reason="again")

    asked = [(tried, 1), (second, 1), (canceled, 1), (10**9, 1), (tried, 2), (first, 1)]
    found = await jobs.claim_all(asked, worker="one:1", lease=LEASE)

    assert [(job.id, job.attempt, job.status) for job in found] == [
        (second, 1, JobStatus.RUNNING),
        (tried, 2, JobStatus.RUNNING),
        (first, 1, JobStatus.RUNNING),
    ]


async def test_of_each_account_as_many_are_claimed_as_it_has_room_for_first_come_first(
    jobs: JobStore, account_id: int, database: Database, rows: Rows
) -> None:
    other = (await AccountStore(database).ensure("other")).id
    ours, others = await accepted(jobs, account_id, 4), await accepted(jobs, other, 2)
    await rows("UPDATE accounts SET max_running = 2 WHERE id = $1", account_id)
    asked = [ours[3], others[1], ours[0], ours[2], others[0], ours[1]]

    found = await claimed(jobs, asked)

    assert [job.id for job in found] == [ours[3], others[1], ours[0], others[0]]
    parked = await rows("SELECT id FROM jobs WHERE parked_at IS NOT NULL AND status = 'WAITING' ORDER BY id")
    assert [row["id"] for row in parked] == [ours[1], ours[2]]
    (standing,) = await rows("SELECT running, waiting FROM accounts WHERE id = $1", account_id)
    assert standing == {"running": 2, "waiting": 2}


async def test_an_attempt_that_was_lost_keeps_no_other_from_its_end(
    jobs: JobStore, account_id: int, rows: Rows
) -> None:
    first, lost, last = await claimed(jobs, await accepted(jobs, account_id, 3))
    await jobs.requeue(lost.id, 1, delay=timedelta(0), reason="as if its lease had lapsed")
    await one_job.claim(jobs, lost.id, 2, worker="two:2", lease=LEASE)

    ended = await jobs.succeed_all([succeeded(job) for job in (last, lost, first)])

    assert ended == {(first.id, 1), (last.id, 1)}
    assert [len((await one_job.get(jobs, job.id)).images) for job in (first, lost, last)] == [2, 0, 2]
    events = await rows("SELECT job_id, detail FROM job_events WHERE kind = 'SUCCESS' ORDER BY job_id")
    assert [(row["job_id"], row["detail"]) for row in events] == [
        (job.id, f"note of {job.id}") for job in (first, last)
    ]


async def test_two_attempts_of_one_job_in_one_statement_are_told_apart(jobs: JobStore, account_id: int) -> None:
    (late,) = await claimed(jobs, await accepted(jobs, account_id, 1))
    await jobs.requeue(late.id, 1, delay=timedelta(0), reason="as if its lease had lapsed")
    (newer,) = await jobs.claim_all([(late.id, 2)], worker="one:1", lease=LEASE)

    assert await jobs.succeed_all([succeeded(late), succeeded(newer)]) == {(newer.id, 2)}
    assert len((await one_job.get(jobs, late.id)).images) == 2


async def test_two_workers_with_the_same_signals_claim_each_job_once(jobs: JobStore, account_id: int) -> None:
    ids = await accepted(jobs, account_id, 12)

    both = await asyncio.gather(claimed(jobs, ids), claimed(jobs, ids[::-1], "two:2"))

    assert sorted(job.id for found in both for job in found) == ids


async def test_a_claim_whose_answer_was_lost_gives_the_same_again(jobs: JobStore, account_id: int, rows: Rows) -> None:
    ids = await accepted(jobs, account_id, 3)
    await rows("UPDATE accounts SET max_running = 2 WHERE id = $1", account_id)
    first = await claimed(jobs, ids[:1])
    await rows("UPDATE jobs SET lease_expires_at = now() WHERE id = $1", ids[0])

    again, of_another = await claimed(jobs, ids), await claimed(jobs, ids, "two:2")

    assert [(job.id, job.attempt) for job in again] == [(ids[0], 1), (ids[1], 1)]
    assert again[0] == first[0] and of_another == []
    events = await rows("SELECT job_id FROM job_events WHERE kind = 'STARTED' ORDER BY id")
    assert [row["job_id"] for row in events] == ids[:2]
    left = await rows("SELECT id FROM jobs WHERE lease_expires_at > now() + interval '50 s' ORDER BY id")
    assert [row["id"] for row in left] == ids[:2]


async def test_a_claim_is_repeated_while_the_first_one_is_not_yet_committed(
    jobs: JobStore, account_id: int, database: Database
) -> None:
    ids = await accepted(jobs, account_id, 2)

    async with database.transaction() as connection:
        query = queries.claim_jobs(connection, job_ids=ids, attempts=[1, 1], worker="one:1", lease=LEASE)
        await rows_of(query)
        repeating = asyncio.create_task(claimed(jobs, ids))
        await asyncio.sleep(0.1)
        is_waiting = not repeating.done()

    assert [job.id for job in await repeating] == ids
    assert is_waiting


async def test_batches_of_several_accounts_never_wait_for_each_other(
    jobs: JobStore, account_id: int, database: Database, rows: Rows
) -> None:
    """Each of four claims and ends jobs of both accounts, in orders that cross."""
    other = (await AccountStore(database).ensure("other")).id
    ours, others = await accepted(jobs, account_id, 40), await accepted(jobs, other, 40)

    async def work(share: int) -> None:
        for i in range(share, 40, 4):
            pair = [ours[i], others[i]] if share % 2 else [others[i], ours[i]]
            found = await claimed(jobs, pair)
            await jobs.succeed_all([succeeded(job) for job in found])

    async with asyncio.timeout(30):
        await asyncio.gather(*(work(share) for share in range(4)))

    assert {row["status"] for row in await rows("SELECT status FROM jobs")} == {"SUCCESS"}
    assert {(row["waiting"], row["running"]) for row in await rows("SELECT * FROM accounts")} == {(0, 0)}
