"""The stores on real PostgreSQL and Redis."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.delivery_store import DeliveryStore
from jobs.storage.job_store import JobStore
from tests.until import only_this_task

Rows = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture
async def account_id(database: Database) -> int:
    return (await AccountStore(database).ensure("ours")).id


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


@pytest.fixture
def deliveries(database: Database) -> DeliveryStore:
    return DeliveryStore(database)


@pytest.fixture
def rows(database: Database) -> Rows:
    """Asks the tables themselves."""

    async def ask(statement: str, *arguments: Any) -> list[dict[str, Any]]:
        async with database.connection() as connection:
            return [dict(row) for row in await connection.fetch(statement, *arguments)]

    return ask


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    yield
    await only_this_task()
