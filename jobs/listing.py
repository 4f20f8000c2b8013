"""Which of its jobs an account asks to see. It finds none: the store does."""

from dataclasses import dataclass
from datetime import UTC, datetime

from jobs.job import JobStatus

MAX_JOBS = 100
DEFAULT_JOBS = 20
MAX_ID = 2**63 - 1
EARLIEST = datetime.min.replace(tzinfo=UTC)
LATEST = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """A place in the list of all jobs, which is ordered by the time of acceptance, then by id."""

    created_at: datetime = LATEST
    id: int = MAX_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """The newest `limit` jobs before `before` that are alike in all of this.

    The period holds `created_after` and not `created_before`, so that periods side by side share no job.
    """

    statuses: tuple[JobStatus, ...] = tuple(JobStatus)
    request_id: str | None = None
    created_after: datetime = EARLIEST
    created_before: datetime = LATEST
    before: Position = Position()
    limit: int = DEFAULT_JOBS
