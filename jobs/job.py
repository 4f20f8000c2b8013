"""What a job is, from acceptance to its end. It does not know where jobs are kept or how they are spoken of.

WAITING ──claim──▶ RUNNING ──finish──▶ SUCCESS
   ▲                  │ ├──fail──────▶ FAILED
   └──lease lapsed,───┘ └──cancel────▶ CANCELED, from WAITING too
      transitory failure
"""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from jobs.pool import NOBODY
from jobs.record import record
from jobs.submission import Submission


class JobStatus(StrEnum):
    """WAITING and RUNNING follow each other as often as a job is tried; the others are final."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


class FailureCode(StrEnum):
    """Whether the same job, sent again, might succeed."""

    TRANSITORY_ERROR = "TRANSITORY_ERROR"
    FATAL_ERROR = "FATAL_ERROR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    code: FailureCode
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A stored picture that belongs to an account: an upload, or a job's output. Without `expires_at` it is kept for
    ever; after it, only the job still tells of it."""

    id: UUID
    key: str
    format: str
    width: int
    height: int
    expires_at: datetime | None = None


@record
class ToldJob:
    """What its account is told of a job, and what that is reckoned from: all but what was asked for, which is long.

    `attempt` counts claims; only the latest may write. `credits` is its price: held from acceptance to the end, and
    charged if that is SUCCESS. `cost_s` is what it should take a worker, in seconds; jobs of one `kind` are compared
    with each other. `need` is what it asks of a worker, as `Need` writes it.
    """

    id: int
    account_id: int
    request_id: str
    dialect: str
    credits: Decimal
    status: JobStatus
    attempt: int
    cost_s: float
    kind: str
    need: str = ""
    failure: Failure | None = None
    images: tuple[Image, ...] = ()


@record
class Job(ToldJob):
    """As a worker is given it. `handed_back` of its attempts ended because their worker was asked to stop, and do not
    count against it."""

    fingerprint: bytes
    submission: Submission
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    handed_back: int = 0

    @property
    def tries(self) -> int:
        """Of which a job has a bounded number."""
        return self.attempt - self.handed_back


@record
class QueuePlace:
    """In the line of `pool`, whose workers serve no other. `rank` counts from 1: the jobs that start before this one,
    and itself. `length` counts all that wait there.

    `work_before_s` is what those before it should take one worker; None where nobody knows. `ahead_s`: how much work
    other accounts may still send each, and be served before it, because its own has so much before them.
    """

    rank: int
    length: int
    pool: str = NOBODY
    work_before_s: float | None = None
    ahead_s: float = field(default=0.0, compare=False)  # it changes with every start, and no place with it


class Range(NamedTuple):
    """Seconds from now, which one in two stays within, and nine in ten."""

    p50: float
    p90: float


class Estimate(NamedTuple):
    """When a job should start, if it waits, and when it should end."""

    starts_in: Range | None
    ends_in: Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """A small picture of an unfinished output. `index` is the output's; `number` grows within the attempt."""

    index: int
    number: int
    format: str
    width: int
    height: int

    def name(self, job_id: int, attempt: int) -> str:
        """Of one picture for ever: no two previews share it."""
        return f"{job_id}-{attempt}-{self.index}-{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an attempt has come. It may be lost, never goes back, and ends with its attempt.

    `fraction` is 0 to 1 of the whole job; `step` of `steps` is the denoising step of stage `stage`.
    """

    attempt: int
    fraction: float
    stage: int
    step: int
    steps: int
    previews: tuple[Preview, ...] = ()


@record
class JobView:
    """A job as its account may see it now: what is durable, and what is live. `missing`: why no worker that is alive
    can run it, each in a sentence; nothing where one can, and None where nobody asked."""

    job: ToldJob
    place: QueuePlace | None = None
    progress: Progress | None = None
    estimate: Estimate | None = None
    missing: tuple[str, ...] | None = None
