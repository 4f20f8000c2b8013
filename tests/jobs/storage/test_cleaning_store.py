"""What may be removed, and what may not yet."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from jobs.deliveries import DeliveryState
from jobs.errors import NotFound
from jobs.job import Failure, FailureCode, Image, Job
from jobs.storage.account_store import AccountStore
from jobs.storage.cleaning_store import CleaningStore, Expired, Leftovers
from jobs.storage.database import Database
from jobs.storage.delivery_log import DeliveryLog
from jobs.storage.delivery_store import Attempt, DeliveryStore, Rooms
from jobs.storage.job_store import JobStore
from jobs.storage.resource_store import ResourceStore
from tests import one_job
from tests.jobs.samples import new_job
from tests.jobs.storage.conftest import Rows

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FAILED = Failure(code=FailureCode.FATAL_ERROR, reason="x")


@pytest.fixture
def resources(database: Database) -> ResourceStore:
    return ResourceStore(database)


@pytest.fixture
def store(database: Database) -> CleaningStore:
    return CleaningStore(database)


async def uploaded(resources: ResourceStore, account_id: int, kept_for: timedelta | None = DAY) -> UUID:
    resource_id = await resources.add_upload(account_id, open_for=HOUR, kept_for=kept_for)
    await resources.store_upload(Image(id=resource_id, key=f"k/{resource_id}", format="png", width=1, height=1))
    return resource_id


async def expired(store: CleaningStore) -> list[UUID]:
    async with store.alone() as cleaning:
        assert cleaning is not None
        return [each.id for each in await cleaning.expired(grace=HOUR, limit=100)]


async def leftovers(store: CleaningStore) -> list[Leftovers]:
    async with store.alone() as cleaning:
        assert cleaning is not None
        return await cleaning.leftovers(grace=DAY, limit=100)


async def accepted(jobs: JobStore, account_id: int, *, ago: timedelta) -> int:
    created, *_ = await jobs.accept([new_job(account_id, uuid4().hex, at=datetime.now(UTC) - ago)])
    (job_id,) = created.values()
    return job_id


async def claimed(jobs: JobStore, account_id: int, *, attempts: int = 1, ago: timedelta = timedelta(0)) -> Job:
    job_id = await accepted(jobs, account_id, ago=ago)
    for attempt in range(1, attempts + 1):
        job = await one_job.claim(jobs, job_id, attempt, worker="w", lease=HOUR)
        assert job is not None
        if attempt < attempts:
            await jobs.requeue(job_id, attempt, delay=timedelta(0), reason="x")
    return job


@pytest.mark.parametrize(
    ("moved", "is_expired"),
    [("-1 minute", False), ("0", False), ("23 hours", False), ("24 hours 59 minutes", False), ("26 hours", True)],
)
async def test_an_upload_is_due_when_its_time_and_the_grace_are_over(
    resources: ResourceStore, store: CleaningStore, account_id: int, rows: Rows, moved: str, is_expired: bool
) -> None:
    resource_id = await uploaded(resources, account_id)
    await rows("UPDATE resources SET expires_at = expires_at - $1::text::interval", moved)

    assert await expired(store) == ([resource_id] if is_expired else [])


async def test_an_upload_that_never_came_is_due_when_its_address_has_expired(
    resources: ResourceStore, store: CleaningStore, account_id: int, rows: Rows
) -> None:
    never_came = await resources.add_upload(account_id, open_for=HOUR, kept_for=None)
    await uploaded(resources, account_id, kept_for=None)
    await rows("UPDATE resources SET expires_at = expires_at - interval '3 hours'")

    assert await expired(store) == [never_came]


async def test_an_expired_picture_stays_while_a_job_may_begin_from_it(
    resources: ResourceStore, store: CleaningStore, jobs: JobStore, account_id: int, rows: Rows
) -> None:
    await uploaded(resources, account_id)
    job = await claimed(jobs, account_id, ago=5 * DAY)
    await rows("UPDATE resources SET expires_at = now() - interval '4 days'")

    while_it_runs = await expired(store)
    await jobs.requeue(job.id, job.attempt, delay=timedelta(0), reason="x")
    while_it_waits = await expired(store)
    again = await one_job.claim(jobs, job.id, 2, worker="w", lease=HOUR)
    assert again is not None
    await jobs.fail(job.id, 2, FAILED)

    assert (while_it_runs, while_it_waits) == ([], [])
    assert len(await expired(store)) == 1


@pytest.mark.parametrize("whose", ["another account", "a later job"])
async def test_an_expired_picture_does_not_wait_for_jobs_that_cannot_name_it(
    resources: ResourceStore, store: CleaningStore, jobs: JobStore, database: Database, account_id: int, rows: Rows,
    whose: str,
) -> None:  # fmt: skip
    resource_id = await uploaded(resources, account_id)
    other = (await AccountStore(database).ensure("theirs")).id
    if whose == "another account":
        await accepted(jobs, other, ago=5 * DAY)
    else:
        await accepted(jobs, account_id, ago=2 * DAY)
    await rows("UPDATE resources SET expires_at = now() - interval '4 days'")

    assert await expired(store) == [resource_id]


async def test_a_removed_upload_is_forgotten_and_a_removed_output_is_still_told_of(
    resources: ResourceStore, store: CleaningStore, jobs: JobStore, account_id: int, rows: Rows
) -> None:
    upload = await uploaded(resources, account_id)
    job = await claimed(jobs, account_id)
    output = Image(
        id=uuid4(), key="k/o", format="png", width=1, height=1, expires_at=datetime.now(UTC) - timedelta(days=1)
    )
    await one_job.succeed(jobs, job, [output])
    await rows("UPDATE resources SET expires_at = now() - interval '1 day'")

    async with store.alone() as cleaning:
        assert cleaning is not None
        found = await cleaning.expired(grace=HOUR, limit=100)
        await cleaning.removed(found)

    assert sorted(found, key=lambda each: each.is_output) == [
        Expired(upload, f"k/{upload}", False),
        Expired(output.id, "k/o", True),
    ]
    assert await expired(store) == []
    assert [row["id"] for row in await rows("SELECT id FROM resources")] == [output.id]
    assert [image.id for image in (await jobs.get(account_id, job.id)).images] == [output.id]
    with pytest.raises(NotFound):
        await resources.get_any(output.id)


async def test_the_oldest_come_first_and_no_more_than_asked(
    resources: ResourceStore, store: CleaningStore, account_id: int, rows: Rows
) -> None:
    ids = [await uploaded(resources, account_id) for _ in range(3)]
    for days, resource_id in zip((3, 5, 4), ids, strict=True):
        await rows(
            "UPDATE resources SET expires_at = now() - make_interval(days => $1) WHERE id = $2", days, resource_id
        )

    async with store.alone() as cleaning:
        assert cleaning is not None
        found = await cleaning.expired(grace=HOUR, limit=2)
        behind = await cleaning.expired(grace=HOUR, limit=2, after=1)

    assert [each.id for each in found] == [ids[1], ids[2]]
    assert behind[0].id == ids[2]


async def test_one_cleans_at_a_time(store: CleaningStore) -> None:
    async with store.alone() as first, store.alone() as second:
        assert first is not None and second is None

    async with store.alone() as third:
        assert third is not None


@pytest.mark.parametrize(
    ("attempts", "ends", "left"),
    [(1, "SUCCESS", None), (3, "SUCCESS", (1, 2)), (1, "FAILED", (1,)), (2, "FAILED", (1, 2))],
)
async def test_every_attempt_but_the_one_that_succeeded_leaves_something(
    store: CleaningStore, jobs: JobStore, account_id: int, rows: Rows, attempts: int, ends: str, left: tuple[int, ...]
) -> None:
    job = await claimed(jobs, account_id, attempts=attempts)
    if ends == "SUCCESS":
        await one_job.succeed(jobs, job, [])
    else:
        await jobs.fail(job.id, job.attempt, FAILED)
    at_once = await leftovers(store)
    await rows("UPDATE jobs SET finished_at = now() - interval '25 hours'")
    found = await leftovers(store)

    async with store.alone() as cleaning:
        assert cleaning is not None
        await cleaning.leftovers_removed(found)

    assert at_once == []
    assert found == ([Leftovers(job.id, left)] if left else [])
    assert await leftovers(store) == []


async def test_jobs_that_go_on_have_no_leftovers_yet(
    store: CleaningStore, jobs: JobStore, account_id: int, rows: Rows
) -> None:
    await claimed(jobs, account_id, attempts=3)
    await accepted(jobs, account_id, ago=5 * DAY)

    assert await leftovers(store) == []


async def test_the_searches_use_their_indexes(database: Database, jobs: JobStore, account_id: int) -> None:
    """Jobs are kept for ever: what reads them all every minute would be slower every day."""
    async with database.connection() as connection:
        await connection.execute("SET enable_seqscan = off")
        plans = [
            await connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement}", *arguments)
            for statement, arguments in (
                (_sql("expired_resources"), (HOUR, 100, 0)),
                (_sql("jobs_with_leftovers"), (DAY, 100, 0)),
            )
        ]

    assert "Seq Scan" not in "".join(plans)
    assert "resources_expiring" in plans[0] and "jobs_with_leftovers" in plans[1]


def _sql(name: str) -> str:
    from jobs.storage.database import queries

    return str(getattr(queries, name).sql)


async def test_what_was_settled_long_ago_is_forgotten_with_its_attempts(
    store: CleaningStore, jobs: JobStore, account_id: int, database: Database, rows: Rows
) -> None:
    for number in range(4):
        created, *_ = await jobs.accept([new_job(account_id, f"r-{number}", notify_url="http://a.example")])
        job_id = created[account_id, f"r-{number}"]
        await one_job.claim(jobs, job_id, 1, worker="w", lease=HOUR)
        await jobs.fail(job_id, 1, FAILED)
    deliveries = DeliveryStore(database)
    claimed = await deliveries.claim(Rooms(limit=4, strangers=4, each=4), claim=HOUR)
    for delivery, state in zip(claimed, ("DELIVERED", "DEAD", "DELIVERED", "PENDING"), strict=True):
        await deliveries.record(delivery, Attempt(seconds=1, status=204), DeliveryState(state), HOUR)
    await rows("UPDATE deliveries SET settled_at = settled_at - interval '31 days' WHERE id <> $1", claimed[2].id)

    async with store.alone() as cleaning:
        assert cleaning is not None
        counts = [await cleaning.forget_deliveries(kept=30 * DAY, limit=limit) for limit in (1, 9, 9)]

    assert counts == [1, 1, 0]
    assert {row["id"] for row in await rows("SELECT id FROM deliveries")} == {claimed[2].id, claimed[3].id}
    assert len(await rows("SELECT id FROM delivery_attempts")) == 2


async def test_destinations_that_nothing_is_left_of_are_forgotten_but_for_disabled_ones(
    store: CleaningStore, account_id: int, database: Database, rows: Rows
) -> None:
    for name in ("used", "disabled", "a", "b"):
        await DeliveryLog(database).test(account_id, f"http://{name}.example/")
    await rows("UPDATE destinations SET disabled_at = now() WHERE origin = 'http://disabled.example'")
    await rows("DELETE FROM deliveries WHERE url <> 'http://used.example/'")

    async with store.alone() as cleaning:
        assert cleaning is not None
        counts = [await cleaning.forget_destinations(limit=1) for _ in range(3)]

    assert counts == [1, 1, 0]
    assert {row["origin"] for row in await rows("SELECT origin FROM destinations")} == {
        "http://used.example",
        "http://disabled.example",
    }


async def test_a_destination_that_is_used_while_it_is_forgotten_is_kept_or_made_again(
    store: CleaningStore, account_id: int, database: Database, rows: Rows
) -> None:
    log = DeliveryLog(database)
    for _ in range(20):
        await rows("DELETE FROM deliveries")

        async def forget() -> None:
            async with store.alone() as cleaning:
                assert cleaning is not None
                await cleaning.forget_destinations(limit=9)

        await asyncio.gather(forget(), *(log.test(account_id, "http://one.example/") for _ in range(4)))

        assert len(await rows("SELECT id FROM deliveries")) == 4
        assert len(await rows("SELECT id FROM destinations")) == 1
