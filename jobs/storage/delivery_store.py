"""Callbacks to be made: the outbox in PostgreSQL, and the destinations they go to. It does not send."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from jobs.deliveries import DeliveryKind, DeliveryState, message_id
from jobs.storage.database import Database, queries, rows_of

# A destination is closed after so many failures in a row; then it gets one probe at a time, in ever longer pauses.
TRIP = 5
SHORTEST_PAUSE = timedelta(seconds=5)
LONGEST_PAUSE = timedelta(minutes=5)
# Then it is disabled.
HOPELESS_AFTER = timedelta(days=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One claimed row. `id` stays the same over all its tries; `tries` counts those that were recorded before, and
    `claims` all claims, this one included.

    `sequence` grows with what is sent of one job to one address. `told` is what a receiver of progress knows.
    Each of `secrets` signs; the first one is the newest. The private keys sign too, where the account has them.
    """

    id: UUID
    destination_id: int
    job_id: int | None
    url: str
    kind: DeliveryKind
    tries: int
    claims: int
    sequence: int
    told: str | None
    secrets: tuple[bytes, ...] = field(repr=False)
    ed25519_key: bytes | None = field(default=None, repr=False)
    rsa_key: bytes | None = field(default=None, repr=False)

    @property
    def message_id(self) -> str:
        """What the receiver drops repeats by. Each progress is an event of its own, and is not repeated."""
        first = message_id(self.id)
        return f"{first}_{self.sequence}" if self.kind == DeliveryKind.PROGRESS else first


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What came of sending it once. `error` is None where it was delivered; `status` where no answer came. `told` is
    what the receiver knows of the job's progress now."""

    seconds: float
    status: int | None = None
    error: str | None = None
    answer: str | None = None
    told: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """How many a destination may be sent now, beside the `busy` ones that are under way, and whether its last answer
    was a good one, and quick."""

    number: int
    busy: int
    is_trusted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooms:
    """What may be claimed: `limit` in all, `strangers` of them for destinations that are not trusted.

    `each` is the room of a destination that is not among `known`.
    """

    limit: int
    strangers: int
    each: int = 1
    known: Mapping[int, Room] = field(default_factory=dict)


class DeliveryStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, rooms: Rooms, *, claim: timedelta) -> list[Delivery]:
        """Takes due rows for the time `claim`; after that they may be taken again."""
        async with self._database.connection() as connection:
            found = queries.claim_deliveries(
                connection,
                claim=claim,
                limit=rooms.limit,
                strangers=rooms.strangers,
                each=rooms.each,
                ids=list(rooms.known),
                rooms=[room.number for room in rooms.known.values()],
                busies=[room.busy for room in rooms.known.values()],
                trusts=[room.is_trusted for room in rooms.known.values()],
            )
            return [_delivery(row) for row in await rows_of(found)]

    async def record(
        self, delivery: Delivery, attempt: Attempt, state: DeliveryState, delay: timedelta | None = None
    ) -> bool:
        """Leaves it in `state`, and where that is PENDING, for another try after `delay`.

        Returns whether its destination has failed for so long that it ought to be disabled.
        """
        async with self._database.connection() as connection:
            row = await queries.record_attempt(
                connection,
                id=delivery.id,
                claims=delivery.claims,
                state=state.value,
                delay=delay,
                seconds=attempt.seconds,
                status=attempt.status,
                error=attempt.error,
                answer=attempt.answer,
                told=attempt.told,
                trip=TRIP,
                shortest=SHORTEST_PAUSE,
                longest=LONGEST_PAUSE,
                hopeless=HOPELESS_AFTER,
            )
        return row is not None and row["is_hopeless"]

    async def record_delivered(self, sent: Sequence[tuple[Delivery, Attempt]]) -> None:
        """Leaves all of them DELIVERED, in one statement."""
        async with self._database.connection() as connection:
            await queries.record_delivered(
                connection,
                ids=[delivery.id for delivery, _ in sent],
                claims=[delivery.claims for delivery, _ in sent],
                seconds=[attempt.seconds for _, attempt in sent],
                statuses=[attempt.status for _, attempt in sent],
                answers=[attempt.answer for _, attempt in sent],
                tolds=[attempt.told for _, attempt in sent],
            )

    async def lay_aside(self, delivery: Delivery, state: DeliveryState, delay: timedelta | None = None) -> None:
        """Without an attempt: ends it as SUPERSEDED, or leaves it PENDING until `delay` has passed."""
        async with self._database.connection() as connection:
            await queries.lay_aside(connection, id=delivery.id, claims=delivery.claims, state=state.value, delay=delay)

    async def give_back(self, deliveries: Sequence[Delivery]) -> None:
        """Leaves what was claimed and not sent as if it had not been."""
        async with self._database.connection() as connection:
            await queries.give_back(
                connection, ids=[each.id for each in deliveries], claims=[each.claims for each in deliveries]
            )

    async def superseded_of(self, deliveries: Collection[Delivery]) -> set[UUID]:
        """Of these, the ids of those that were superseded while they were under way."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.superseded_of(connection, ids=[each.id for each in deliveries]))
        return {row["id"] for row in rows}

    async def disable(self, destination_id: int, reason: str) -> None:
        """What is pending for it is dead, and so is what comes, until an attempt succeeds."""
        async with self._database.connection() as connection:
            await queries.disable_destination(connection, id=destination_id, error=reason)

    async def seconds_to_next(self) -> float | None:
        """Until the next row is due or the next destination may be probed; None where nothing is to come."""
        async with self._database.connection() as connection:
            seconds = await queries.seconds_to_next_delivery(connection)
        return None if seconds is None else float(seconds)


def _delivery(row: Any) -> Delivery:
    return Delivery(**{**row, "kind": DeliveryKind(row["kind"]), "secrets": tuple(row["secrets"])})
