import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from embedded import Servers
from jobs.storage.migrate import migrate

TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"


@pytest.fixture
async def empty_url(servers: Servers) -> AsyncIterator[str]:
    """A database without any table."""
    name = f"empty_{uuid4().hex}"
    connection = await asyncpg.connect(servers.database_url)
    await connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(servers.database_url)._replace(path=f"/{name}").geturl()
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["table_name"] for row in await connection.fetch(TABLES)}
    finally:
        await connection.close()


async def test_a_repeat_changes_nothing(empty_url: str) -> None:
    await migrate(empty_url)
    once = await tables(empty_url)

    await migrate(empty_url)

    assert await tables(empty_url) == once >= {"accounts", "jobs", "job_events", "resources", "deliveries"}


async def test_concurrent_migrations_wait_for_each_other(empty_url: str) -> None:
    await asyncio.gather(*(migrate(empty_url) for _ in range(3)))

    assert "jobs" in await tables(empty_url)
