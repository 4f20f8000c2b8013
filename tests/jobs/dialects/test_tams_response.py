"""The bodies that clients read, against golden JSON. Signatures are replaced: `test_links` checks them."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobs import errors
from jobs.dialects.tams_response import error_body, explanation_body, job_body
from jobs.errors import DarkroomError, Fault, InvalidSubmission
from jobs.explanation import Circumstances
from jobs.job import (
    Estimate,
    Failure,
    FailureCode,
    Image,
    Job,
    JobStatus,
    JobView,
    Preview,
    Progress,
    QueuePlace,
    Range,
)
from jobs.links import Links
from tests.jobs.samples import NOON, job

GOLDEN = Path(__file__).parent / "golden" / "responses"
LINKS = Links("https://images.example", b"a secret of the test", lambda: NOON)
PLACE = QueuePlace(rank=3, length=12)
PREVIEW = Preview(index=1, number=4, format="jpeg", width=64, height=48)
PROGRESS = Progress(attempt=1, fraction=0.35, stage=1, step=7, steps=20)
STARTS = Estimate(starts_in=Range(12.13, 20.38), ends_in=Range(15.9, 24.6))
ENDS = Estimate(starts_in=None, ends_in=Range(3.0, 4.5))
IMAGES = tuple(Image(id=UUID(int=i), key=f"outputs/{i}.png", format="png", width=512, height=768) for i in (1, 2))
MISSING = (
    "LORA 'x' is in the catalogue, but its files are not on the workers",
    "the workers do not run IMAGE_TO_INPAINT",
)
FAILED = Failure(code=FailureCode.FATAL_ERROR, reason="the model's file is damaged")


def shown(view: JobView, *, just_created: bool = False) -> Any:
    text = json.dumps(job_body(view, LINKS, just_created=just_created))
    return json.loads(re.sub(r"signature=[0-9a-f]{64}", "signature=SIGNED", text))


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize(
    ("name", "view"),
    [
        ("waiting", JobView(job=job(), place=PLACE)),
        ("waiting_with_estimate", JobView(job=job(), place=PLACE, estimate=STARTS, missing=())),
        ("waiting_for_a_worker", JobView(job=job(), place=PLACE, missing=MISSING)),
        ("waiting_without_place", JobView(job=job())),
        ("running", JobView(job=job(JobStatus.RUNNING))),
        ("running_with_progress", JobView(job=job(JobStatus.RUNNING), progress=PROGRESS)),
        ("running_with_estimate", JobView(job=job(JobStatus.RUNNING), progress=PROGRESS, estimate=ENDS)),
        (
            "running_with_preview",
            JobView(
                job=job(JobStatus.RUNNING),
                progress=Progress(attempt=1, fraction=0.35, stage=1, step=7, steps=20, previews=(PREVIEW,)),
            ),
        ),
        ("success", JobView(job=job(JobStatus.SUCCESS, images=IMAGES))),
        ("failed", JobView(job=job(JobStatus.FAILED, failure=FAILED))),
        ("canceled", JobView(job=job(JobStatus.CANCELED))),
    ],
)
def test_a_job_is_told_as_its_clients_read_it(name: str, view: JobView) -> None:
    assert shown(view) == golden(name)


def test_why_a_job_waits_is_a_sentence_and_its_numbers() -> None:
    around = Circumstances(
        own_before=1, held_s=0, is_parked=False, paused="", workers=1, busy_workers=1, paused_workers=0
    )

    assert explanation_body(JobView(job=job(), place=PLACE, estimate=STARTS), around) == golden("explanation")


@pytest.mark.parametrize(("status", "is_told"), [(JobStatus.WAITING, False), (JobStatus.RUNNING, True)])
def test_while_all_are_paused_no_start_is_foretold(status: JobStatus, is_told: bool) -> None:
    around = Circumstances(
        own_before=1, held_s=0, is_parked=False, paused="all workers", workers=1, busy_workers=0, paused_workers=1
    )

    body = explanation_body(JobView(job=job(status), place=PLACE, estimate=STARTS), around)

    assert ("estimate" in body) == is_told


def test_the_answer_that_made_a_job_says_created_with_its_place() -> None:
    assert shown(JobView(job=job(), place=PLACE), just_created=True) == golden("created")


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (JobStatus.WAITING, {"credits": 2.4}),
        (JobStatus.RUNNING, {"credits": 2.4}),
        (JobStatus.SUCCESS, {"credits": 2.4}),
        (JobStatus.FAILED, {}),
        (JobStatus.CANCELED, {}),
    ],
)
def test_credits_are_a_number_and_absent_where_nothing_is_charged(status: JobStatus, told: dict[str, float]) -> None:
    body = shown(JobView(job=job(status, credits=Decimal("2.4000"))))["job"]

    assert {name: value for name, value in body.items() if name == "credits"} == told


def test_no_waiting_info_goes_out_without_the_rank_that_a_published_client_demands() -> None:
    assert "waitingInfo" not in shown(JobView(job=job()), just_created=True)["job"]


@pytest.mark.parametrize("status", JobStatus)
def test_64_bit_integers_are_strings(status: JobStatus) -> None:
    view = JobView(job=job(status, images=IMAGES, failure=FAILED), place=PLACE, progress=PROGRESS)

    for name, value in fields(job_body(view, LINKS)):
        if name in ("id", "expiredIn", "queueRank", "queueLen", "queue_rank", "queue_len", "stageIndex"):
            assert isinstance(value, str), name


def fields(value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, list):
        return [field for each in value for field in fields(each)]
    if isinstance(value, dict):
        return [*value.items(), *(field for each in value.values() for field in fields(each))]
    return []


def test_every_link_in_a_body_opens() -> None:
    success: Job = job(JobStatus.SUCCESS, images=IMAGES)

    for image in job_body(JobView(job=success), LINKS)["job"]["successInfo"]["images"]:
        path, expires, signature = re.fullmatch(
            r"https://images.example(.*)\?expires=(\d+)&signature=(.*)", image["url"]
        ).groups()  # type: ignore[union-attr]
        LINKS.check("GET", path, expires, signature)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidSubmission([Fault("", "x")]), 400, 3),
        (errors.NotAuthenticated(), 401, 16),
        (errors.LinkRefused(), 403, 7),
        (errors.NotFound(), 404, 5),
        (errors.RequestIdConflict(), 409, 6),
        (errors.JobEnded(), 400, 9),
        (errors.InsufficientCredits(price=Decimal("0.8"), balance=Decimal(1), held=Decimal("0.5")), 400, 9),
        (errors.TooManyWaiting(waiting=3, max_waiting=3), 429, 8),
        (errors.TooLarge(), 413, 3),
        (errors.TooManyStreams(), 429, 8),
        (errors.Unimplemented(), 501, 12),
        (errors.Unavailable(), 503, 14),
        (DarkroomError("what went wrong"), 500, 13),
        (errors.FatalFailure(), 500, 13),
        (errors.AttemptLost(), 500, 13),
    ],
)
def test_each_error_has_its_http_status_and_rpc_code(error: DarkroomError, status: int, code: int) -> None:
    answered, body = error_body(error)

    assert (answered, body["code"]) == (status, code)
    assert body["message"] == error.message
    assert isinstance(body["details"], list)


def test_every_fault_is_a_field_violation() -> None:
    error = InvalidSubmission([Fault("stages[1].diffusion.steps", "is 61"), Fault("", "is wrong")])

    _, body = error_body(error)

    assert body == golden("invalid_submission")
