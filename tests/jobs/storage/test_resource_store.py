from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from jobs.errors import NotFound
from jobs.job import Image
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.job_store import JobStore
from jobs.storage.resource_store import ResourceStore
from tests.jobs.samples import new_job

WEEK = timedelta(days=7)
PAST = timedelta(seconds=-1)


@pytest.fixture
def resources(database: Database) -> ResourceStore:
    return ResourceStore(database)


def image(resource_id: UUID) -> Image:
    return Image(id=resource_id, key=f"uploads/{resource_id}.png", format="png", width=64, height=48)


async def test_a_stored_upload_is_its_accounts_alone(
    resources: ResourceStore, database: Database, account_id: int
) -> None:
    other = (await AccountStore(database).ensure("theirs")).id
    resource_id = await resources.add_upload(account_id, WEEK)

    await resources.store_upload(image(resource_id))

    assert await resources.get(account_id, resource_id) == image(resource_id)
    assert await resources.get_any(resource_id) == image(resource_id)
    with pytest.raises(NotFound):
        await resources.get(other, resource_id)


async def test_an_upload_without_its_bytes_is_not_there_yet(resources: ResourceStore, account_id: int) -> None:
    resource_id = await resources.add_upload(account_id, WEEK)

    with pytest.raises(NotFound):
        await resources.get(account_id, resource_id)
    with pytest.raises(NotFound):
        await resources.get_any(resource_id)


async def test_an_expired_resource_neither_takes_nor_gives_bytes(
    resources: ResourceStore, database: Database, account_id: int
) -> None:
    late = await resources.add_upload(account_id, PAST)
    stored = await resources.add_upload(account_id, WEEK)
    await resources.store_upload(image(stored))
    async with database.connection() as connection:
        await connection.execute("UPDATE resources SET expires_at = now() - interval '1 second'")

    with pytest.raises(NotFound):
        await resources.store_upload(image(late))
    with pytest.raises(NotFound):
        await resources.get(account_id, stored)


async def test_a_long_term_resource_has_no_end(resources: ResourceStore, database: Database, account_id: int) -> None:
    resource_id = await resources.add_upload(account_id, None)

    await resources.store_upload(image(resource_id))

    assert await resources.get(account_id, resource_id) == image(resource_id)
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT expires_at FROM resources") is None


async def test_an_output_is_no_upload_and_is_never_overwritten(
    resources: ResourceStore, jobs: JobStore, account_id: int
) -> None:
    created, *_ = await jobs.accept([new_job(account_id)])
    (job_id,) = created.values()
    job = await jobs.claim(job_id, 1, worker="w", lease=WEEK)
    assert job is not None
    output = image(uuid4())
    await jobs.succeed(job, [output])

    with pytest.raises(NotFound):
        await resources.store_upload(Image(id=output.id, key="other", format="png", width=1, height=1))

    assert await resources.get(account_id, output.id) == output
