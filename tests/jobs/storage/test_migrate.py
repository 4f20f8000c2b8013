import asyncio
from typing import Any

import asyncpg

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


async def tables(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        return {row["table_name"] for row in await connection.fetch(TABLES)}
    finally:
        await connection.close()


async def constraints(connection: Any) -> set[str]:
    return {row["conname"] for row in await connection.fetch("SELECT conname FROM pg_constraint")}


async def test_a_repeat_changes_nothing(empty_url: str) -> None:
    await migrate(empty_url)
    once = await tables(empty_url)

    await migrate(empty_url)

    assert await tables(empty_url) == once >= {"accounts", "jobs", "job_events", "resources", "deliveries"}


async def test_concurrent_migrations_wait_for_each_other(empty_url: str) -> None:
    await asyncio.gather(*(migrate(empty_url) for _ in range(3)))

    assert "jobs" in await tables(empty_url)


async def test_a_migration_waits_for_who_holds_what_it_locks_in_the_other_order(empty_url: str) -> None:
    await migrate(empty_url, "0017")
    connection = await asyncpg.connect(empty_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE jobs IN ROW EXCLUSIVE MODE")
        migrating = asyncio.create_task(migrate(empty_url))
        await asyncio.sleep(1.5)  # longer than PostgreSQL waits before it looks for a deadlock
        await connection.execute("LOCK TABLE accounts IN ROW EXCLUSIVE MODE")

    await migrating

    assert "jobs_account_id_fkey" not in await constraints(connection)
    await connection.close()


async def test_what_an_older_schema_settled_gets_an_age(empty_url: str) -> None:
    await migrate(empty_url, "0007")
    connection = await asyncpg.connect(empty_url)
    await connection.execute(SETTLED_WITHOUT_AGE)

    await migrate(empty_url)

    assert await connection.fetchval("SELECT count(settled_at) FROM deliveries") == 1
    await connection.close()
