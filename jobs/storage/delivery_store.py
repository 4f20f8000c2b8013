"""Callbacks to be made: the outbox in PostgreSQL. It does not send."""

from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from jobs.storage.database import Database, queries, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One claimed row. `id` stays the same over all its tries; `tries` counts this one."""

    id: UUID
    job_id: int
    url: str
    kind: str
    tries: int
    webhook_secret: bytes = field(repr=False)


class DeliveryStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, *, limit: int, claim: timedelta) -> list[Delivery]:
        """Takes up to `limit` due rows for the time `claim`; after that they may be taken again."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.claim_deliveries(connection, limit=limit, claim=claim))
            return [Delivery(**row) for row in rows]

    async def settle(self, delivery: Delivery, state: str, *, status: int | None, error: str | None) -> None:
        """Ends it as DELIVERED, SUPERSEDED or DEAD."""
        async with self._database.connection() as connection:
            await queries.settle_delivery(
                connection, id=delivery.id, tries=delivery.tries, state=state, status=status, error=error
            )

    async def postpone(self, delivery: Delivery, delay: timedelta, *, status: int | None, error: str | None) -> None:
        """Leaves it for another try after `delay`."""
        async with self._database.connection() as connection:
            await queries.postpone_delivery(
                connection, id=delivery.id, tries=delivery.tries, delay=delay, status=status, error=error
            )

    async def seconds_to_next(self) -> float | None:
        """Until the next row is due, None where none is pending; not positive if one is due now."""
        async with self._database.connection() as connection:
            seconds = await queries.seconds_to_next_delivery(connection)
        return None if seconds is None else float(seconds)
