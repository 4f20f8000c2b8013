"""Why a job waits, in one sentence."""

from typing import Any

import pytest

from jobs.explanation import Circumstances, explain
from jobs.job import Estimate, Failure, FailureCode, JobStatus, JobView, Progress, QueuePlace, Range
from tests.jobs.samples import job

NOTHING = {"own_before": 0, "held_s": 0.0, "is_parked": False, "paused": "", "paused_workers": 0}
NOTHING |= {"workers": 2, "busy_workers": 2}


def waiting(rank: int | None = 1, start: Range | None = None, missing: tuple[str, ...] = (), **around: Any) -> str:
    place = QueuePlace(rank=rank, length=rank + 5) if rank else None
    estimate = Estimate(starts_in=start, ends_in=Range(1, 2)) if start else None
    view = JobView(job=job(), place=place, estimate=estimate, missing=missing)
    return explain(view, Circumstances(**(NOTHING | around)))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            waiting(4, Range(12, 30.4), own_before=2, workers=1, busy_workers=1),
            "3 jobs are before it, 2 of them yours; 1 worker is alive and at work; it should start in about 12 s, and"
            " nine times out of ten within 30 s.",
        ),
        (
            waiting(2, Range(200, 9000), own_before=1),
            "1 job is before it, one of yours; 2 workers are alive, 2 of them at work; it should start in about 3 min,"
            " and nine times out of ten within 2 h.",
        ),
        (
            waiting(1, Range(28.8, 29.3), workers=1, busy_workers=1),
            "It is the first in line; 1 worker is alive and at work; it should start in about 29 s.",
        ),
        (
            waiting(1, Range(0, 1.4), workers=1, busy_workers=0),
            "It is the first in line; 1 worker is alive; it should start at once.",
        ),
        (
            waiting(3, workers=1, busy_workers=0, paused_workers=1, paused="all workers"),
            "2 jobs are before it, none of them yours; the operator has paused all workers; it starts after they are"
            " resumed.",
        ),
        (
            waiting(3, missing=("nobody is here",), workers=0, busy_workers=0, paused="all workers"),
            "2 jobs are before it, none of them yours; nobody is here; the operator has paused all workers; it starts"
            " when a worker comes that can run it.",
        ),
        (
            waiting(1, workers=3, busy_workers=1, paused_workers=1),
            "It is the first in line; 3 workers are alive, 1 of them at work and 1 paused.",
        ),
        (waiting(2, own_before=None, workers=0, busy_workers=0), "1 job is before it."),
        (
            waiting(3, missing=("the model is not here", "nor is the LoRA"), workers=0, busy_workers=0),
            "2 jobs are before it, none of them yours; the model is not here; nor is the LoRA; it starts when a worker"
            " comes that can run it.",
        ),
        (waiting(2001, own_before=None), "2000 jobs are before it; 2 workers are alive, 2 of them at work."),
        (waiting(2), "1 job is before it, not one of yours; 2 workers are alive, 2 of them at work."),
        (waiting(None), "Its place in the line is not known at the moment; 2 workers are alive, 2 of them at work."),
        (
            waiting(3, Range(1, 1), is_parked=True),
            "Its account runs as many jobs as it may at once; it starts when one of them has ended.",
        ),
        (waiting(3, held_s=7.6), "Attempt 1 failed in a way that may pass; it is tried again in 8 s."),
    ],
)
def test_a_waiting_job_is_told_what_it_waits_for(said: str, expected: str) -> None:
    assert said == expected


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (JobView(job=job(JobStatus.RUNNING)), "It is running."),
        (
            JobView(
                job=job(JobStatus.RUNNING, attempt=2),
                progress=Progress(attempt=2, fraction=0.35, stage=1, step=7, steps=20),
                estimate=Estimate(starts_in=None, ends_in=Range(7, 9)),
            ),
            "It is running, attempt 2, 35% done; it should end in about 7 s, and nine times out of ten within 9 s.",
        ),
        (JobView(job=job(JobStatus.CANCELED)), "It has ended: CANCELED."),
        (
            JobView(job=job(JobStatus.FAILED, failure=Failure(code=FailureCode.FATAL_ERROR, reason="no such file."))),
            "It has failed: no such file.",
        ),
    ],
)
def test_a_job_that_does_not_wait_is_told_how_it_stands(view: JobView, expected: str) -> None:
    assert explain(view, Circumstances(**NOTHING)) == expected
