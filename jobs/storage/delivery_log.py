"""What became of callbacks, and their replay, in PostgreSQL. It sends none: the webhooks process hears of them."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from jobs.deliveries import (
    MAX_REPLAYED,
    AttemptRecord,
    DeliveryFilter,
    DeliveryKind,
    DeliveryRecord,
    DeliveryState,
    Destination,
    DestinationFilter,
)
from jobs.errors import Fault, InvalidSubmission, NotFound
from jobs.storage.database import Connection, Database, queries, rows_of

REPLAYABLE = tuple(state for state in DeliveryState if state != DeliveryState.SUPERSEDED)
_ATTEMPT_FIELDS = [each.name for each in fields(AttemptRecord)]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAttempt:
    """An attempt with what it was of. `number` grows over all attempts."""

    number: int
    job_id: int | None
    kind: str
    origin: str
    attempt: AttemptRecord


class DeliveryLog:
    """Where an account's id may be None, all accounts are meant: operators ask so."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_job(self, account_id: int, job_id: int) -> list[DeliveryRecord]:
        """In the order they were made, each with its attempts. Raises NotFound where it is not the account's."""
        async with self._database.connection() as connection:
            if await queries.job_of_account(connection, job_id=job_id, account_id=account_id) is None:
                raise NotFound(f"There is no job {job_id}.")
            rows = await rows_of(queries.deliveries_of_job(connection, job_id=job_id, account_id=account_id))
            return await _with_attempts(connection, rows)

    async def page(self, account_id: int | None, asked: DeliveryFilter) -> list[DeliveryRecord]:
        """Without their attempts."""
        async with self._database.connection() as connection:
            found = queries.page_of_deliveries(
                connection, **_conditions(asked), before=asked.before, limit=asked.limit, account_id=account_id
            )
            return [_record(row) for row in await rows_of(found)]

    async def replay(self, account_id: int | None, id: UUID) -> DeliveryRecord:
        """Sends it again, soon. Raises NotFound, or InvalidSubmission for what does not tell of an end."""
        async with self._database.transaction() as connection:
            replayed = await _replay(connection, account_id, DeliveryFilter(states=REPLAYABLE), [id])
            row = await queries.delivery_of_account(connection, id=id, account_id=account_id)
        if row is None:
            raise NotFound("There is no such delivery.")
        if not replayed:
            raise InvalidSubmission([Fault("id", f"a callback of kind {row['kind']} is not sent again")])
        return _record(row)

    async def replay_all(self, account_id: int | None, asked: DeliveryFilter) -> int:
        """How many are sent again: the oldest of those asked for, and at most MAX_REPLAYED."""
        async with self._database.connection() as connection:
            return await _replay(connection, account_id, asked)

    async def test(self, account_id: int, url: str) -> DeliveryRecord:
        """Sends an event that tells of nothing."""
        async with self._database.transaction() as connection:
            id = await queries.add_test_delivery(connection, account_id=account_id, url=url)
            return _record(await queries.delivery_of_account(connection, id=id, account_id=account_id))

    async def destinations(self, account_id: int, asked: DestinationFilter) -> list[Destination]:
        async with self._database.connection() as connection:
            found = queries.page_of_destinations(
                connection, account_id=account_id, after=asked.after, limit=asked.limit
            )
            rows = await rows_of(found)
        return [Destination(**row) for row in rows]

    async def attempts_after(self, number: int, *, account_id: int | None, limit: int) -> list[LoggedAttempt]:
        """The newest ones of those with a higher number, in their order."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.attempts_after(connection, after=number, account_id=account_id, limit=limit))
        return [
            LoggedAttempt(
                number=row["attempt_id"],
                job_id=row["job_id"],
                kind=row["kind"],
                origin=row["origin"],
                attempt=_attempt(row),
            )
            for row in rows
        ]


async def _replay(
    connection: Connection, account_id: int | None, asked: DeliveryFilter, ids: Sequence[UUID] | None = None
) -> int:
    return int(
        await queries.replay_deliveries(
            connection, **_conditions(asked), ids=ids, account_id=account_id, limit=MAX_REPLAYED
        )
    )


def _conditions(asked: DeliveryFilter) -> dict[str, list[str] | datetime]:
    return {
        "states": [state.value for state in asked.states],
        "created_after": asked.created_after,
        "created_before": asked.created_before,
    }


async def _with_attempts(connection: Connection, rows: Sequence[Any]) -> list[DeliveryRecord]:
    attempts: defaultdict[UUID, tuple[AttemptRecord, ...]] = defaultdict(tuple)
    for row in await rows_of(queries.attempts_of_deliveries(connection, ids=[row["id"] for row in rows])):
        attempts[row["delivery_id"]] += (_attempt(row),)
    return [_record(row, attempts[row["id"]]) for row in rows]


def _record(row: Any, attempts: tuple[AttemptRecord, ...] = ()) -> DeliveryRecord:
    state = DeliveryState(row["state"])
    return DeliveryRecord(
        id=row["id"],
        job_id=row["job_id"],
        url=row["url"],
        kind=DeliveryKind(row["kind"]),
        state=state,
        tries=row["tries"],
        last_status=row["last_status"],
        last_error=row["last_error"],
        created_at=row["created_at"],
        next_try_at=row["next_try_at"] if state == DeliveryState.PENDING else None,
        settled_at=row["settled_at"],
        attempts=attempts,
    )


def _attempt(row: Any) -> AttemptRecord:
    return AttemptRecord(**{name: row[name] for name in _ATTEMPT_FIELDS})
