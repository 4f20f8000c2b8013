"""What an account may know of its callbacks. It sends none, and knows no HTTP but its status."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from jobs.listing import EARLIEST, LATEST

MAX_DELIVERIES = 100
DEFAULT_DELIVERIES = 20
MAX_REPLAYED = 10_000


class DeliveryKind(StrEnum):
    """RUNNING tells of a start, PROGRESS of how far it has come, TERMINAL of the end; TEST of nothing."""

    RUNNING = "RUNNING"
    PROGRESS = "PROGRESS"
    TERMINAL = "TERMINAL"
    TEST = "TEST"


class DeliveryState(StrEnum):
    """PENDING is left for one of the others. SUPERSEDED: a newer one tells what it would have. DEAD can be replayed."""

    PENDING = "PENDING"
    DELIVERED = "DELIVERED"
    SUPERSEDED = "SUPERSEDED"
    DEAD = "DEAD"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRecord:
    """One sending. Without `status` no answer came, without `error` it was delivered. `answer` is how it began."""

    started_at: datetime
    seconds: float
    status: int | None
    error: str | None
    answer: str | None
    next_try_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """`next_try_at` only while it is pending. A test has no job."""

    id: UUID
    job_id: int | None
    url: str
    kind: DeliveryKind
    state: DeliveryState
    tries: int
    last_status: int | None
    last_error: str | None
    created_at: datetime
    next_try_at: datetime | None
    settled_at: datetime | None
    attempts: tuple[AttemptRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Scheme, host and port of an account's callbacks, or `*`: all beyond those it may have. After failures in a row it
    is probed, next at `closed_until`; after days of them it is disabled, until a test or a replay succeeds."""

    origin: str
    failures: int
    failing_since: datetime | None
    closed_until: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """The newest `limit` deliveries that were made before the one named `before`, and are alike in all of this."""

    states: tuple[DeliveryState, ...] = tuple(DeliveryState)
    created_after: datetime = EARLIEST
    created_before: datetime = LATEST
    before: UUID | None = None
    limit: int = DEFAULT_DELIVERIES


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationFilter:
    """The first `limit` destinations by origin, after that one."""

    after: str = ""
    limit: int = DEFAULT_DELIVERIES


def message_id(id: UUID) -> str:
    """What receivers know a delivery by."""
    return f"msg_{id.hex}"
