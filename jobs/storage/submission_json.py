"""Submissions as the JSON text that a row of `jobs` keeps. It stores nothing.

Rows are read for as long as there are jobs: a new field of a stage needs a default that says nothing.
"""

from functools import lru_cache
from typing import Annotated

import orjson
from pydantic import BaseModel, Discriminator

from jobs.stages import Stage
from jobs.submission import Submission

# Long prompts are seldom asked for again, and would take much memory.
REMEMBERED_CHARACTERS = 8192


class _Stored(BaseModel):
    """A Submission whose stages are told apart by their type: else each would be tried as every kind."""

    request_id: str
    stages: tuple[Annotated[Stage, Discriminator("type")], ...]
    notify_url: str | None
    running_notify_url: str | None
    start_within_s: float | None = None
    end_within_s: float | None = None
    attempt_within_s: float | None = None


def dumped(submission: Submission) -> str:
    return orjson.dumps(submission).decode()


def loaded(text: str) -> Submission:
    """It is shared, and must not be changed: clients ask for the same jobs again and again."""
    return _remembered(text) if len(text) <= REMEMBERED_CHARACTERS else _read(text)


def _read(text: str) -> Submission:
    return Submission(**dict(_Stored.model_validate_json(text)))


_remembered = lru_cache(maxsize=512)(_read)
