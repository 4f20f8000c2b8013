from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from jobs.errors import NotFound
from jobs.job import Image
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.job_store import JobStore
from jobs.storage.resource_store import ResourceStore
from tests import one_job
from tests.jobs.samples import new_job

WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)


@pytest.fixture
def resources(database: Database) -> ResourceStore:
    return ResourceStore(database)


def image(resource_id: UUID) -> Image:
    return Image(id=resource_id, key=f"uploads/{resource_id}.png", format="png", width=64, height=48)


async def test_a_stored_upload_is_its_accounts_alone(
    resources: ResourceStore, database: Database, account_id: int
) -> None:
    other = (await AccountStore(database).ensure("theirs")).id
    resource_id = await resources.add_upload(account_id, open_for=HOUR, kept_for=WEEK)

    await resources.store_upload(image(resource_id))

    stored = await resources.get(account_id, resource_id)
    assert replace(stored, expires_at=None) == image(resource_id)
    assert await resources.get_any(resource_id) == stored
    with pytest.raises(NotFound):
        await resources.get(other, resource_id)


async def test_pictures_of_several_accounts_are_looked_up_at_once_and_each_is_its_accounts_alone(
    resources: ResourceStore, database: Database, account_id: int
) -> None:
    other = (await AccountStore(database).ensure("theirs")).id
    ours = await resources.add_upload(account_id, open_for=HOUR, kept_for=WEEK)
    theirs = await resources.add_upload(other, open_for=HOUR, kept_for=WEEK)
    without_bytes = await resources.add_upload(other, open_for=HOUR, kept_for=WEEK)
    for resource_id in (ours, theirs):
        await resources.store_upload(image(resource_id))

    asked = [(account_id, ours), (account_id, theirs), (other, theirs), (other, ours), (other, without_bytes)]

    assert await resources.sizes(asked) == {(account_id, ours): (64, 48), (other, theirs): (64, 48)}


async def test_an_upload_without_its_bytes_is_not_there_yet(resources: ResourceStore, account_id: int) -> None:
    resource_id = await resources.add_upload(account_id, open_for=HOUR, kept_for=WEEK)

    with pytest.raises(NotFound):
        await resources.get(account_id, resource_id)
    with pytest.raises(NotFound):
        await resources.get_any(resource_id)


async def test_an_expired_resource_neither_takes_nor_gives_bytes(
    resources: ResourceStore, database: Database, account_id: int
) -> None:
    late = await resources.add_upload(account_id, open_for=HOUR, kept_for=WEEK)
    stored = await resources.add_upload(account_id, open_for=HOUR, kept_for=WEEK)
    await resources.store_upload(image(stored))
    async with database.connection() as connection:
        await connection.execute("UPDATE resources SET expires_at = now() - interval '1 second'")

    with pytest.raises(NotFound):
        await resources.check_open(late, "any key")
    with pytest.raises(NotFound):
        await resources.store_upload(image(late))
    for get in (resources.get(account_id, stored), resources.get_any(stored)):
        with pytest.raises(NotFound):
            await get


async def test_what_has_expired_is_still_the_input_of_a_job_until_it_is_removed(
    resources: ResourceStore, database: Database, account_id: int
) -> None:
    other = (await AccountStore(database).ensure("theirs")).id
    resource_id = await resources.add_upload(account_id, open_for=HOUR, kept_for=WEEK)
    await resources.store_upload(image(resource_id))

    await _execute(database, "UPDATE resources SET expires_at = now() - interval '1 second'")
    assert (await resources.get_input(account_id, resource_id)).key == image(resource_id).key
    with pytest.raises(NotFound):
        await resources.get_input(other, resource_id)
    await _execute(database, "UPDATE resources SET removed_at = now()")
    with pytest.raises(NotFound):
        await resources.get_input(account_id, resource_id)


async def test_the_time_that_a_picture_is_kept_begins_when_its_bytes_have_come(
    resources: ResourceStore, database: Database, account_id: int
) -> None:
    resource_id = await resources.add_upload(account_id, open_for=HOUR, kept_for=WEEK)
    waiting = await _left(database)

    await resources.store_upload(image(resource_id))
    stored = await _left(database)
    await _execute(database, "UPDATE resources SET expires_at = now() + interval '1 day'")
    await resources.store_upload(image(resource_id))

    assert waiting == pytest.approx(HOUR.total_seconds(), abs=60)
    assert stored == pytest.approx(WEEK.total_seconds(), abs=60)
    assert await _left(database) == pytest.approx(24 * 3600, abs=60)  # the repeat did not prolong it


async def test_a_second_picture_is_refused_before_and_when_it_is_stored(
    resources: ResourceStore, account_id: int
) -> None:
    resource_id = await resources.add_upload(account_id, open_for=HOUR, kept_for=None)
    first = image(resource_id)
    await resources.check_open(resource_id, first.key)
    await resources.store_upload(first)

    await resources.check_open(resource_id, first.key)
    with pytest.raises(NotFound):
        await resources.check_open(resource_id, "another")
    with pytest.raises(NotFound):
        await resources.store_upload(replace(first, key="another"))


async def test_a_long_term_resource_has_no_end(resources: ResourceStore, database: Database, account_id: int) -> None:
    resource_id = await resources.add_upload(account_id, open_for=HOUR, kept_for=None)

    await resources.store_upload(image(resource_id))

    assert await resources.get(account_id, resource_id) == image(resource_id)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT expires_at FROM resources") is None


async def test_an_output_is_no_upload_and_is_never_overwritten(
    resources: ResourceStore, jobs: JobStore, account_id: int
) -> None:
    created, *_ = await jobs.accept([new_job(account_id)])
    (job_id,) = created.values()
    job = await one_job.claim(jobs, job_id, 1, worker="w", lease=WEEK)
    assert job is not None
    output = image(uuid4())
    await one_job.succeed(jobs, job, [output])

    with pytest.raises(NotFound):
        await resources.store_upload(Image(id=output.id, key="other", format="png", width=1, height=1))

    assert await resources.get(account_id, output.id) == output


async def _execute(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statement)


async def _left(database: Database) -> float:
    """Seconds until the only resource expires."""
    async with database.connection() as connection:
        return float(await connection.fetchval("SELECT extract(epoch FROM expires_at - now()) FROM resources"))
