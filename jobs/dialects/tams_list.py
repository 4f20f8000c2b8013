"""GET /v1/jobs: its parameters to a JobFilter, its jobs to a body. No I/O.

TAMS has no such endpoint; names and values follow those of its others.
"""

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from jobs.dialects.protobuf_json import Integer, Message, Text, faults_of
from jobs.dialects.tams_response import job_body
from jobs.errors import Fault, InvalidSubmission
from jobs.job import JobStatus, JobView
from jobs.links import Links
from jobs.listing import DEFAULT_JOBS, EARLIEST, LATEST, MAX_ID, MAX_JOBS, JobFilter, Position

EPOCH = datetime.fromtimestamp(0, UTC)
MICROSECOND = timedelta(microseconds=1)
# Python reads more kinds of times than RFC 3339 has.
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_CURSOR = re.compile(rb"(-?\d{1,18})/(\d{1,19})")


def _time(text: str) -> datetime:
    try:
        if _RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # of the right form, and no time
    raise ValueError("must be a time of RFC 3339, like 2026-05-01T12:00:00Z; write the + of an offset as %2B")


def _cursor(position: Position) -> str:
    micros = (position.created_at - EPOCH) // MICROSECOND
    return base64.urlsafe_b64encode(f"{micros}/{position.id}".encode()).decode().rstrip("=")


def _position(cursor: str) -> Position:
    try:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        if (match := _CURSOR.fullmatch(content)) and int(match[2]) <= MAX_ID:
            return Position(created_at=EPOCH + int(match[1]) * MICROSECOND, id=int(match[2]))
    except (ValueError, OverflowError, binascii.Error):
        pass  # not of our making
    raise ValueError("must be the nextCursor of an answer before")


TimeText = Annotated[
    datetime, BeforeValidator(_time), WithJsonSchema({"type": "string", "format": "date-time", "title": "RFC 3339"})
]
Cursor = Annotated[
    Position, BeforeValidator(_position), WithJsonSchema({"type": "string", "title": "nextCursor of the page before"})
]


class ListParameters(Message):
    status: tuple[JobStatus, ...] = tuple(JobStatus)
    request_id: Text | None = Field(default=None, min_length=1, max_length=256)
    created_after: TimeText = EARLIEST
    created_before: TimeText = LATEST
    limit: Integer = Field(default=DEFAULT_JOBS, ge=1, le=MAX_JOBS)
    cursor: Cursor = Position()

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
    repeated = [name for name, values in parameters.items() if name != "status" and len(values) > 1]
    faults = [Fault(name, "comes twice") for name in repeated]
    fields = {name: values if name == "status" else values[0] for name, values in parameters.items()}
    try:
        asked = ListParameters.model_validate(fields)
    except ValidationError as error:
        faults += faults_of(error)
    if faults:
        raise InvalidSubmission(faults)
    return asked.filter()


def list_body(views: Sequence[JobView], next_page: Position | None, links: Links) -> dict[str, Any]:
    """Without a cursor on the last page."""
    body: dict[str, Any] = {"jobs": [job_body(view, links)["job"] for view in views]}
    return body | ({"nextCursor": _cursor(next_page)} if next_page else {})
