"""What has happened to a job, for ever. It is written with the change of state, in one commit."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class EventKind(StrEnum):
    """REQUEUED: the attempt was lost or failed, and another follows. The last three end the job."""

    ACCEPTED = "ACCEPTED"
    STARTED = "STARTED"
    REQUEUED = "REQUEUED"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        return self in (EventKind.SUCCESS, EventKind.FAILED, EventKind.CANCELED)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent:
    """`id` grows from event to event of one job. `attempt` is 0 until the first start."""

    id: int
    job_id: int
    attempt: int
    kind: EventKind
    detail: str | None
    created_at: datetime
