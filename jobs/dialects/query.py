"""Query strings of lists: parameters to a message, and cursors, which say where the page before ended. No I/O."""

import base64
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError

from jobs.dialects.protobuf_json import Message, faults_of, shown
from jobs.errors import Fault, InvalidSubmission

NOT_A_CURSOR = "must be the nextCursor of an answer before"

Query = TypeVar("Query", bound=Message)


def read_query(message: type[Query], parameters: Mapping[str, Sequence[str]], *, repeated: Sequence[str] = ()) -> Query:
    """What these parameters, each with all its values, ask for. Raises InvalidSubmission with all faults."""
    faults = [
        Fault(shown(name), "comes twice") for name, values in parameters.items() if name not in repeated and values[1:]
    ]
    fields = {name: values if name in repeated else values[0] for name, values in parameters.items()}
    try:
        asked = message.model_validate(fields)
    except ValidationError as error:
        faults += faults_of(error, message)
    if faults:
        raise InvalidSubmission(faults)
    return asked


def encode_cursor(position: str) -> str:
    """For addresses, and not for people: its form may change."""
    return base64.urlsafe_b64encode(position.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, form: re.Pattern[str]) -> re.Match[str]:
    """Raises ValueError if it is none of this form."""
    try:
        position = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except ValueError as error:  # also binascii's and Unicode's
        raise ValueError(NOT_A_CURSOR) from error
    if match := form.fullmatch(position):
        return match
    raise ValueError(NOT_A_CURSOR)
