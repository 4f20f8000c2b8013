"""Hears of new callbacks by LISTEN. It may miss some: the dispatcher also looks by itself."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg
import structlog

from jobs.storage.database import DATABASE_AWAY

CHANNEL = "deliveries"
CONNECT_WITHIN_S = 10
CHECK_EVERY_S = 5

log = structlog.get_logger()


@asynccontextmanager
async def listening(database_url: str, wake: Callable[[], None]) -> AsyncIterator[None]:
    """Calls `wake` for each notification, over a connection of its own that is opened again when it breaks."""
    task = asyncio.create_task(_listen_for_ever(database_url, wake))
    try:
        yield
    finally:
        task.cancel()


async def _listen_for_ever(database_url: str, wake: Callable[[], None]) -> None:
    while True:
        try:
            await _listen(database_url, wake)
        except DATABASE_AWAY as error:
            log.warning("listener_lost", error=repr(error))
            await asyncio.sleep(CHECK_EVERY_S)


async def _listen(database_url: str, wake: Callable[[], None]) -> None:
    connection = await asyncpg.connect(database_url, timeout=CONNECT_WITHIN_S)
    try:
        await connection.add_listener(CHANNEL, lambda *_: wake())
        wake()  # for what came before we listened
        while True:
            await asyncio.sleep(CHECK_EVERY_S)
            await connection.fetchval("SELECT 1", timeout=CONNECT_WITHIN_S)
    finally:
        connection.terminate()
