"""What a list of jobs may be asked for, and how it is told."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobs.dialects.tams_list import list_body, parse_list
from jobs.errors import InvalidSubmission
from jobs.job import JobStatus, JobView
from jobs.links import Links
from jobs.listing import JobFilter, Position
from tests.jobs.samples import NOON, job

LINKS = Links("https://images.example", b"a secret of the test", lambda: NOON)


def parsed(**parameters: str | list[str]) -> JobFilter:
    return parse_list({name: value if isinstance(value, list) else [value] for name, value in parameters.items()})


def faults(**parameters: Any) -> list[str]:
    with pytest.raises(InvalidSubmission) as refused:
        parsed(**parameters)
    return [fault.path for fault in refused.value.faults]


def test_without_parameters_the_newest_twenty_of_all_jobs_are_asked_for() -> None:
    assert parsed() == JobFilter()
    assert (JobFilter().limit, set(JobFilter().statuses)) == (20, set(JobStatus))


def test_each_parameter_narrows_the_list() -> None:
    asked = parsed(
        status=["FAILED", "CANCELED", "FAILED"],
        requestId="r-1",
        createdAfter="2026-05-01T12:00:00+02:00",
        createdBefore="2026-05-01T12:00:00.25z",
        limit="100",
    )

    assert asked == JobFilter(
        statuses=(JobStatus.FAILED, JobStatus.CANCELED),
        request_id="r-1",
        created_after=datetime(2026, 5, 1, 10, tzinfo=UTC),
        created_before=datetime(2026, 5, 1, 12, 0, 0, 250_000, tzinfo=UTC),
        limit=100,
    )


def test_names_may_be_in_snake_case_as_everywhere() -> None:
    assert parsed(request_id="r-1", created_after="2026-05-01T12:00:00Z") == JobFilter(
        request_id="r-1", created_after=NOON
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("status", "DONE"),
        ("status", "success"),
        ("status", ""),
        ("requestId", ""),
        ("requestId", "x" * 257),
        ("requestId", "\x00"),
        ("createdAfter", "yesterday"),
        ("createdAfter", ""),
        ("createdAfter", "1777636800"),
        ("createdAfter", "2026-05-01"),
        ("createdAfter", "2026-05-01T12:00:00"),
        ("createdAfter", "2026-05-01T12:00:00 02:00"),
        ("createdAfter", "2026-02-30T12:00:00Z"),
        ("createdAfter", "2026-05-01T24:00:01Z"),
        ("createdBefore", "0001-01-01T00:00:00+14:00"),
        ("createdBefore", "2026-W18-5T12:00:00Z"),
        ("limit", "0"),
        ("limit", "101"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", ""),
        ("limit", "9" * 5000),
        ("cursor", "x"),
        ("cursor", "é"),
        ("cursor", "MTIz"),
        ("cursor", "LS0v"),
        ("cursor", "OTk5OTk5OTk5OTk5OTk5OTk5LzE"),  # 999999999999999999/1: after the last year there is
        ("cursor", "MC85OTk5OTk5OTk5OTk5OTk5OTk5"),  # 0/9999999999999999999: over 64 bits
        ("cursor", "A" * 5000),
        ("page", "2"),
        ("", ""),
    ],
)
def test_what_is_wrong_is_named(name: str, value: str) -> None:
    (path,) = faults(**{name: value})

    assert path == (f"{name}[0]" if name == "status" else name)


def test_all_faults_come_at_once() -> None:
    wrong = faults(status=["SUCCESS", "x"], limit=["1", "2"], page="1", createdAfter="now")

    assert sorted(wrong) == ["createdAfter", "limit", "page", "status[1]"]


@pytest.mark.parametrize(
    "position",
    [
        Position(created_at=NOON, id=7),
        Position(created_at=NOON + timedelta(microseconds=1), id=2**63 - 1),
        Position(created_at=datetime(1969, 1, 1, tzinfo=UTC), id=1),
        Position(),
    ],
)
def test_a_cursor_leads_to_where_the_page_ended(position: Position) -> None:
    cursor = list_body([], position, LINKS)["nextCursor"]

    assert parsed(cursor=cursor).before == position
    assert cursor.isascii() and cursor.replace("-", "").replace("_", "").isalnum(), "it needs no escape in a URL"


def test_the_jobs_are_told_as_get_tells_each() -> None:
    views = [JobView(job=job(JobStatus.CANCELED)), JobView(job=job(JobStatus.RUNNING))]

    assert list_body(views, None, LINKS) == {
        "jobs": [
            {"id": "709385162603889157", "requestId": "r-1", "status": "CANCELED"},
            {
                "id": "709385162603889157",
                "requestId": "r-1",
                "status": "RUNNING",
                "runningInfo": {"processingImages": []},
            },
        ]
    }
