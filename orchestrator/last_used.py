"""When each key and app was used last: noted in memory, written once a minute. A crash loses a minute of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TypeVar

import structlog

from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.database import DATABASE_AWAY

WRITE_EVERY_S = 60
LAST_WRITE_WITHIN_S = 5

Id = TypeVar("Id", int, str)

log = structlog.get_logger()


class LastUsed:
    """Write into `keys` and `apps`, by id. Open it with `open_last_used`."""

    def __init__(self, accounts: AccountStore, apps: AppStore) -> None:
        self.keys: dict[int, datetime] = {}
        self.apps: dict[str, datetime] = {}
        self._accounts = accounts
        self._apps = apps

    async def write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            try:
                await self.write()
            except Exception:
                # Without this task nothing would be written until the next start.
                log.exception("last_used_broke")

    async def write(self) -> None:
        """What cannot be written is kept for the next time."""
        await _write(self.keys, self._accounts.note_used)
        await _write(self.apps, self._apps.note_used)


@asynccontextmanager
async def open_last_used(accounts: AccountStore, apps: AppStore) -> AsyncIterator[LastUsed]:
    """At its task of writing; writes once more on leaving."""
    last_used = LastUsed(accounts, apps)
    task = asyncio.create_task(last_used.write_for_ever())
    try:
        yield last_used
    finally:
        task.cancel()
        try:
            await asyncio.wait_for(last_used.write(), LAST_WRITE_WITHIN_S)
        except TimeoutError:
            log.warning("last_used_not_written", error="the database was too slow")


async def _write(times: dict[Id, datetime], write: Callable[[dict[Id, datetime]], Awaitable[None]]) -> None:
    noted = dict(times)
    times.clear()
    try:
        if noted:
            await write(noted)
    except DATABASE_AWAY as error:
        log.warning("last_used_not_written", error=repr(error))
        times.update({id_: at for id_, at in noted.items() if id_ not in times})
