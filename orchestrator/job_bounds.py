"""How long a job may take, as headers of its request: the body is the dialect's, and knows no such fields."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from jobs.errors import Fault, InvalidSubmission

LONGEST_S = 7 * 24 * 3600
# By header, the field of Submission.
BOUNDS = {
    "Darkroom-Start-Within": "start_within_s",
    "Darkroom-End-Within": "end_within_s",
    "Darkroom-Attempt-Within": "attempt_within_s",
}

# As JSON has them.
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", re.ASCII)


def bounds_of(headers: Mapping[str, str]) -> dict[str, Any]:
    """Fields of a Submission. Raises InvalidSubmission with all faults."""
    given = {name: headers[name] for name in BOUNDS if name in headers}
    if not given:
        return {}
    if faults := list(_faults(given)):
        raise InvalidSubmission(faults)
    return {BOUNDS[name]: float(text) for name, text in given.items()}


def _faults(given: Mapping[str, str]) -> Iterator[Fault]:
    for name, text in given.items():
        if not _NUMBER.fullmatch(text) or not 0 < float(text) <= LONGEST_S:
            yield Fault(name, f"must be a number of seconds, over 0 and up to {LONGEST_S}")
