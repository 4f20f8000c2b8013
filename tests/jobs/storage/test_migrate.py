import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from embedded import Servers
from jobs.storage.migrate import migrate

SETTLED_WITHOUT_AGE = """
WITH account AS (
    INSERT INTO accounts (name, webhook_secret) VALUES ('older', '') RETURNING id
), destination AS (
    INSERT INTO destinations (account_id, origin) SELECT id, 'http://one.example' FROM account RETURNING id
)
INSERT INTO deliveries (url, kind, state, destination_id)
SELECT 'http://one.example/', 'TEST', 'DEAD', id FROM destination
"""
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


async def test_what_an_older_schema_settled_gets_an_age(empty_url: str) -> None:
    await migrate(empty_url, "0007")
    connection = await asyncpg.connect(empty_url)
    await connection.execute(SETTLED_WITHOUT_AGE)

    await migrate(empty_url)

    assert await connection.fetchval("SELECT count(settled_at) FROM deliveries") == 1
    await connection.close()
