"""Events as an EventSource reads them."""

import json

import pytest

from jobs.dialects.event_stream import durable_event, live_event
from jobs.dialects.tams_response import job_body
from jobs.events import EventKind, JobEvent
from jobs.job import Failure, FailureCode, JobStatus, JobView, QueuePlace
from jobs.links import Links
from tests.jobs.samples import NOON, job

LINKS = Links("https://images.example", b"a secret of the test", lambda: NOON)
FAILURE = Failure(code=FailureCode.FATAL_ERROR, reason="line one\r\nline two\n\nid: 9")


def event(kind: EventKind, detail: str | None = None) -> JobEvent:
    return JobEvent(id=41, job_id=job().id, attempt=2, kind=kind, detail=detail, created_at=NOON)


def test_a_durable_event_has_an_id_its_kind_and_the_job() -> None:
    view = JobView(job=job(JobStatus.CANCELED))

    told = durable_event(event(EventKind.CANCELED), view, LINKS).decode()

    assert told == (
        "id: 41\nevent: canceled\ndata: "
        '{"job":{"id":"709385162603889157","requestId":"r-1","status":"CANCELED"},'
        '"event":{"kind":"CANCELED","attempt":2,"createdAt":"2026-05-01T12:00:00+00:00"}}\n\n'
    )


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (JobView(job=job(), place=QueuePlace(rank=1, length=2)), "place"),
        (JobView(job=job(JobStatus.RUNNING)), "progress"),
    ],
)
def test_a_live_event_has_no_id_so_that_none_is_resumed_after(view: JobView, name: str) -> None:
    head, data = live_event(view, LINKS).decode().split("\ndata: ")

    assert head == f"event: {name}"
    assert json.loads(data) == job_body(view, LINKS)


def test_no_text_breaks_out_of_its_line() -> None:
    view = JobView(job=job(JobStatus.FAILED, failure=FAILURE))

    told = durable_event(event(EventKind.FAILED, FAILURE.reason), view, LINKS)

    assert [line.split(b":")[0] for line in told.splitlines()] == [b"id", b"event", b"data", b""]
    assert json.loads(told.splitlines()[2][6:])["event"]["reason"] == FAILURE.reason


@pytest.mark.parametrize("kind", EventKind)
def test_only_what_went_wrong_has_a_reason_and_only_a_success_a_note(kind: EventKind) -> None:
    told = durable_event(event(kind, "a machine's name, or a reason"), JobView(job=job(JobStatus.CANCELED)), LINKS)

    assert (b'"reason"' in told) == (kind in ("REQUEUED", "FAILED"))
    assert (b'"note"' in told) == (kind == "SUCCESS")


def test_most_successes_need_no_note() -> None:
    assert b"note" not in durable_event(event(EventKind.SUCCESS, None), JobView(job=job(JobStatus.CANCELED)), LINKS)
