"""What may be removed, by one process at a time, in PostgreSQL. It deletes no file: the orchestrator's cleaner does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

import asyncpg

from jobs.job import JobStatus
from jobs.storage.database import Connection, Database, queries, rows_of
from jobs.storage.stage_store import StageOutput


@dataclass(frozen=True, slots=True)
class Expired:
    """A resource that nobody can be shown any more, and that no unfinished job may begin from."""

    id: UUID
    key: str | None
    is_output: bool


@dataclass(frozen=True, slots=True)
class Leftovers:
    """A job that has ended, and its attempts of which no picture was kept."""

    job_id: int
    attempts: tuple[int, ...]


class Cleaning:
    """`after` so many that were found before and are still there."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def expired(self, *, grace: timedelta, limit: int, after: int = 0) -> list[Expired]:
        """Those that expired longer than `grace` ago, oldest first."""
        rows = await rows_of(queries.expired_resources(self._connection, grace=grace, limit=limit, after=after))
        return [Expired(row["id"], row["key"], row["job_id"] is not None) for row in rows]

    async def removed(self, resources: Sequence[Expired]) -> None:
        """Forgets uploads. An output's row stays, because its job tells of it for ever."""
        ids = [each.id for each in resources]
        await queries.forget_uploads(self._connection, ids=ids)
        await queries.mark_outputs_removed(self._connection, ids=ids)

    async def leftovers(self, *, grace: timedelta, limit: int, after: int = 0) -> list[Leftovers]:
        """Of jobs that ended longer than `grace` ago, oldest first."""
        rows = await rows_of(queries.jobs_with_leftovers(self._connection, grace=grace, limit=limit, after=after))
        return [_leftovers(row["id"], row["attempt"], JobStatus(row["status"])) for row in rows]

    async def leftovers_removed(self, leftovers: Sequence[Leftovers]) -> None:
        await queries.mark_leftovers_removed(self._connection, job_ids=[each.job_id for each in leftovers])

    async def expired_stage_outputs(self, *, limit: int, after: int = 0) -> list[StageOutput]:
        """Oldest first."""
        rows = await rows_of(queries.expired_stage_outputs(self._connection, limit=limit, after=after))
        return [StageOutput(row["account_id"], row["address"]) for row in rows]

    async def stage_outputs_removed(self, outputs: Sequence[StageOutput]) -> None:
        if outputs:
            account_ids, addresses = (list(column) for column in zip(*outputs, strict=True))
            await queries.forget_stage_outputs(self._connection, account_ids=account_ids, addresses=addresses)

    async def forget_deliveries(self, *, kept: timedelta, limit: int) -> int:
        """How many of those that were settled longer than `kept` ago, oldest first, dead letters too."""
        return int(await queries.forget_deliveries(self._connection, kept=kept, limit=limit))

    async def forget_destinations(self, *, limit: int) -> int:
        """How many of those that no delivery is left of."""
        rows = await rows_of(queries.unused_destinations(self._connection, limit=limit))
        try:
            return int(await queries.forget_destinations(self._connection, ids=[row["id"] for row in rows]))
        except asyncpg.ForeignKeyViolationError:
            return 0  # one of them was used just now: the others are found again


class CleaningStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[Cleaning | None]:
        """None while another process is cleaning. No transaction is open while files are deleted, for minutes."""
        async with self._database.connection() as connection:
            if not await queries.begin_cleaning(connection):
                yield None
                return
            try:
                yield Cleaning(connection)
            finally:
                await _end_cleaning(connection)


async def _end_cleaning(connection: Connection) -> None:
    try:
        await queries.end_cleaning(connection)
    except BaseException:
        connection.terminate()  # or it would go back to the pool with the lock
        raise


def _leftovers(job_id: int, attempt: int, status: JobStatus) -> Leftovers:
    last = attempt - 1 if status == JobStatus.SUCCESS else attempt
    return Leftovers(job_id, tuple(range(1, last + 1)))
