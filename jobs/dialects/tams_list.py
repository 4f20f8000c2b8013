"""GET /v1/jobs: its parameters to a JobFilter, its jobs to a body. No I/O.

TAMS has no such endpoint; names and values follow those of its others.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

from jobs.dialects.protobuf_json import Integer, Message, Text
from jobs.dialects.query import NOT_A_CURSOR, decode_cursor, encode_cursor, read_query
from jobs.dialects.tams_answers import JobsAnswer
from jobs.dialects.tams_response import job_body
from jobs.job import JobStatus, JobView
from jobs.links import Links
from jobs.listing import DEFAULT_JOBS, EARLIEST, LATEST, MAX_ID, MAX_JOBS, JobFilter, Position

EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)
# Python reads more kinds of times than RFC 3339 has.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CURSOR = re.compile(r"(-?\d{1,18})/(\d{1,19})", re.ASCII)


def _time(text: str) -> datetime:
    try:
        if _RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # of the right form, and no time
    raise ValueError("must be a time of RFC 3339, like 2026-05-01T12:00:00Z; write the + of an offset as %2B")


def _cursor(position: Position) -> str:
    micros = (position.created_at - EPOCH) // MICROSECOND
    return encode_cursor(f"{micros}/{position.id}")


def _position(cursor: str) -> Position:
    if not cursor:
        return Position()
    micros, id = decode_cursor(cursor, _CURSOR).groups()
    try:
        created_at = EPOCH + int(micros) * MICROSECOND
    except OverflowError as error:
        raise ValueError(NOT_A_CURSOR) from error
    if int(id) > MAX_ID:
        raise ValueError(NOT_A_CURSOR)
    return Position(created_at=created_at, id=int(id))


TimeText = Annotated[
    datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time", "title": "RFC 3339"})
]
Cursor = Annotated[
    Position, BeforeValidator(_position), WithJsonSchema({"type": "string", "title": "nextCursor of the page before"})
]


# As the answer to a POST calls a job that waits.
CREATED = "CREATED"


def _status(text: str) -> str:
    return JobStatus.WAITING if text == CREATED else text


Status = Annotated[
    JobStatus, BeforeValidator(_status), WithJsonSchema({"type": "string", "enum": [*JobStatus, CREATED]})
]


class ListParameters(Message):
    status: tuple[Status, ...] = tuple(JobStatus)
    request_id: Text | None = Field(default=None, min_length=1, max_length=256)
    created_after: TimeText = EARLIEST
    created_before: TimeText = LATEST
    limit: Integer = Field(default=DEFAULT_JOBS, ge=1, le=MAX_JOBS)
    cursor: Cursor = Field(default_factory=Position)

    def filter(self) -> JobFilter:
        return JobFilter(
            statuses=tuple(dict.fromkeys(self.status)),
            request_id=self.request_id,
            created_after=self.created_after,
            created_before=self.created_before,
            before=self.cursor,
            limit=self.limit,
        )


def parse_list(parameters: Mapping[str, Sequence[str]]) -> JobFilter:
    """What these parameters, each with all its values, ask for. Raises InvalidSubmission with all faults."""
    return read_query(ListParameters, parameters, repeated=["status"]).filter()


def list_body(views: Sequence[JobView], next_page: Position | None, links: Links) -> JobsAnswer:
    """Without a cursor on the last page."""
    body: JobsAnswer = {"jobs": [job_body(view, links)["job"] for view in views]}
    if next_page:
        body["nextCursor"] = _cursor(next_page)
    return body
