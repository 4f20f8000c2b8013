"""Callbacks and what became of them: parameters to a DeliveryFilter, records to bodies. No I/O.

TAMS has no such endpoints; names and values follow those of its others.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import BeforeValidator, Field, ValidationError, WithJsonSchema

from jobs.deliveries import (
    DEFAULT_DELIVERIES,
    MAX_DELIVERIES,
    AttemptRecord,
    DeliveryFilter,
    DeliveryRecord,
    DeliveryState,
    Destination,
    DestinationFilter,
    message_id,
)
from jobs.dialects import tams_answers as answers
from jobs.dialects.protobuf_json import Integer, Message, faults_of, requiring
from jobs.dialects.query import NOT_A_CURSOR, decode_cursor, encode_cursor, read_query
from jobs.dialects.tams_list import TimeText
from jobs.dialects.tams_request import Address
from jobs.errors import InvalidSubmission, NotFound
from jobs.listing import EARLIEST, LATEST

_ID = re.compile(r"msg_([0-9a-f]{32})", re.ASCII)
_ORIGIN = re.compile(r"\*|[a-z]+://[^\x00]+")

Body = TypeVar("Body")


def delivery_id(text: str) -> UUID:
    """Of what receivers see as `webhook-id`. Raises NotFound."""
    if match := _ID.fullmatch(text):
        return UUID(match[1])
    raise NotFound(f"There is no delivery {text[:40]!r}.")


def _cursor(text: str) -> UUID | None:
    if not text:
        return None
    if match := _ID.fullmatch(text):
        return UUID(match[1])
    raise ValueError(NOT_A_CURSOR)


Cursor = Annotated[
    UUID | None,
    BeforeValidator(_cursor),
    WithJsonSchema({"type": "string", "title": "nextCursor of the page before"}),
]


def _origin(cursor: str) -> str:
    return decode_cursor(cursor, _ORIGIN)[0] if cursor else ""


OriginCursor = Annotated[
    str, BeforeValidator(_origin), WithJsonSchema({"type": "string", "title": "nextCursor of the page before"})
]


class DeliveryListParameters(Message):
    state: tuple[DeliveryState, ...] = tuple(DeliveryState)
    created_after: TimeText = EARLIEST
    created_before: TimeText = LATEST
    limit: Integer = Field(default=DEFAULT_DELIVERIES, ge=1, le=MAX_DELIVERIES)
    cursor: Cursor = None


class DestinationListParameters(Message):
    limit: Integer = Field(default=DEFAULT_DELIVERIES, ge=1, le=MAX_DELIVERIES)
    cursor: OriginCursor = ""


class ReplayParameters(Message):
    state: tuple[Literal[DeliveryState.DEAD, DeliveryState.DELIVERED], ...] = (DeliveryState.DEAD,)
    created_after: TimeText = EARLIEST
    created_before: TimeText = LATEST


class CallbackTestBody(Message):
    model_config = requiring("url")

    url: Annotated[Address, Field(min_length=1)]


def parse_delivery_list(parameters: Mapping[str, Sequence[str]]) -> DeliveryFilter:
    """Raises InvalidSubmission with all faults."""
    asked = read_query(DeliveryListParameters, parameters, repeated=["state"])
    return DeliveryFilter(
        states=tuple(dict.fromkeys(asked.state)),
        created_after=asked.created_after,
        created_before=asked.created_before,
        before=asked.cursor,
        limit=asked.limit,
    )


def parse_destination_list(parameters: Mapping[str, Sequence[str]]) -> DestinationFilter:
    """Raises InvalidSubmission with all faults."""
    asked = read_query(DestinationListParameters, parameters)
    return DestinationFilter(after=asked.cursor, limit=asked.limit)


def parse_replay(parameters: Mapping[str, Sequence[str]]) -> DeliveryFilter:
    """Dead ones of all time where nothing else is said. Raises InvalidSubmission with all faults."""
    asked = read_query(ReplayParameters, parameters, repeated=["state"])
    return DeliveryFilter(
        states=tuple(dict.fromkeys(asked.state)),
        created_after=asked.created_after,
        created_before=asked.created_before,
    )


def parse_test(body: Any) -> str:
    """The address to send a test to. Raises InvalidSubmission."""
    try:
        return CallbackTestBody.model_validate(body).url
    except ValidationError as error:
        raise InvalidSubmission(faults_of(error, CallbackTestBody)) from error


def delivery_body(record: DeliveryRecord) -> answers.Delivery:
    body: dict[str, Any] = {
        "id": message_id(record.id),
        "jobId": str(record.job_id) if record.job_id else None,
        "kind": record.kind.value,
        "url": record.url,
        "state": record.state.value,
        "tries": record.tries,
        "lastStatus": record.last_status,
        "lastError": record.last_error,
        "createdAt": record.created_at.isoformat(),
        "nextTryAt": _time(record.next_try_at),
        "settledAt": _time(record.settled_at),
    }
    return _told(answers.Delivery, body)


def job_deliveries_body(records: Sequence[DeliveryRecord]) -> answers.JobDeliveriesAnswer:
    """Each with its attempts."""
    return {
        "deliveries": [
            {**delivery_body(record), "attempts": [_attempt(each) for each in record.attempts]} for record in records
        ]
    }


def delivery_list_body(records: Sequence[DeliveryRecord], limit: int) -> answers.DeliveriesAnswer:
    """Without a cursor on the last page."""
    body: answers.DeliveriesAnswer = {"deliveries": [delivery_body(record) for record in records]}
    if len(records) == limit:
        body["nextCursor"] = message_id(records[-1].id)
    return body


def destination_list_body(destinations: Sequence[Destination], limit: int) -> answers.DestinationsAnswer:
    """Without a cursor on the last page."""
    body: answers.DestinationsAnswer = {"destinations": [_destination(each) for each in destinations]}
    if len(destinations) == limit:
        body["nextCursor"] = encode_cursor(destinations[-1].origin)
    return body


def _destination(destination: Destination) -> answers.Destination:
    if destination.disabled_at:
        state = "DISABLED"
    elif destination.closed_until:
        state = "FAILING"
    else:
        state = "OPEN"
    body = {
        "origin": destination.origin,
        "state": state,
        "failures": destination.failures,
        "failingSince": _time(destination.failing_since),
        "nextTryAt": _time(destination.closed_until),
        "disabledAt": _time(destination.disabled_at),
    }
    return _told(answers.Destination, body)


def _attempt(attempt: AttemptRecord) -> answers.DeliveryAttempt:
    body = {
        "startedAt": attempt.started_at.isoformat(),
        "seconds": round(attempt.seconds, 3),
        "status": attempt.status,
        "error": attempt.error,
        "answer": attempt.answer,
        "nextTryAt": _time(attempt.next_try_at),
    }
    return _told(answers.DeliveryAttempt, body)


def _told(body_type: type[Body], fields: dict[str, Any]) -> Body:
    """Without what is not known: protobuf's JSON has no null."""
    return body_type(**{name: value for name, value in fields.items() if value is not None})


def _time(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
