"""Brings a database to the newest schema. It never runs by itself: `darkroom migrate` does."""

from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine

# Any number will do, so long as no one else locks on it.
MIGRATION_LOCK = 7_234_511


async def migrate(database_url: str, revision: str = "head") -> None:
    """Upgrades to the newest schema, or to `revision`; concurrent calls wait for each other, and a repeat changes
    nothing."""
    engine = create_async_engine("postgresql+asyncpg://", async_creator=lambda: asyncpg.connect(database_url))
    try:
        async with engine.begin() as connection:
            await connection.run_sync(_upgrade, revision)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection, revision: str) -> None:
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, revision)
