"""What tests about jobs start from: small, valid, and changed where a test cares."""

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from jobs.job import Job, JobStatus
from jobs.prompt import Piece
from jobs.stages.diffusion import Diffusion
from jobs.stages.input_initialize import InputInitialize
from jobs.storage.job_store import NewJob
from jobs.submission import Submission

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def body(request_id: str = "r-1", **diffusion: Any) -> dict[str, Any]:
    """A valid body of POST /v1/jobs; `diffusion` adds to or replaces the fields of its second stage."""
    return {
        "requestId": request_id,
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": "7", "count": 1}},
            {"type": "DIFFUSION", "diffusion": {"prompts": [{"text": "a red barn"}], **diffusion}},
        ],
    }


def submission(request_id: str = "r-1", **urls: str | None) -> Submission:
    stages = (
        InputInitialize(seed=7),
        Diffusion(width=512, height=512, prompt=(Piece("a barn"),), model="101", sampler="Euler"),
    )
    return Submission(request_id=request_id, stages=stages, **urls)


def new_job(
    account_id: int,
    request_id: str = "r-1",
    *,
    body: str = "",
    at: datetime = NOON,
    credits: str = "0.8",
    **urls: str | None,
) -> NewJob:
    """`body` stands for what the request said: another one has another fingerprint."""
    return NewJob(
        account_id=account_id,
        fingerprint=hashlib.sha256(body.encode()).digest(),
        dialect="tams",
        submission=submission(request_id, **urls),
        credits=Decimal(credits),
        cost_s=2.0,
        created_at=at,
    )


def job(status: JobStatus = JobStatus.WAITING, **fields: Any) -> Job:
    shown = {
        "id": 709385162603889157,
        "account_id": 1,
        "request_id": "r-1",
        "fingerprint": b"",
        "dialect": "tams",
        "submission": submission(),
        "credits": Decimal(0),
        "status": status,
        "attempt": 1,
        "cost_s": 2.0,
        "kind": "101 19 DIFFUSION",
        "created_at": NOON,
    }
    return Job(**(shown | fields))


class Clock:
    """Stands at noon until `time` is moved."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time
