"""What has happened to a job, for ever. It is written with the change of state, in one commit.

The acceptance is the job's own row, and has its id with a minus: before all others, and no other job's.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

NOTHING_YET = -(2**63)
"""Before the id of any job's first event."""


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
