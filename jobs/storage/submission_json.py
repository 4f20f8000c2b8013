"""Submissions as the JSON text that a row of `jobs` keeps. It stores nothing.

Rows are read for as long as there are jobs: a new field of a stage needs a default that says nothing. Where none of
those of DIFFUSION says anything, as in nearly every job, none is written: they would be half of the row.
"""

from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Discriminator

from jobs.stages import Stage
from jobs.stages.diffusion import Diffusion
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


# By default these say nothing: None, False, 0, or nothing in it.
_SILENT = {field.name: field.default for field in fields(Diffusion) if not field.default}
_SILENCE = tuple(_SILENT.values())
_silent = attrgetter(*_SILENT)
_OTHERS = tuple(field.name for field in fields(Diffusion) if field.name not in _SILENT)
_others = attrgetter(*_OTHERS)


def dumped(submission: Submission) -> str:
    said = {
        "request_id": submission.request_id,
        "stages": [_said(stage) for stage in submission.stages],
        "notify_url": submission.notify_url,
        "running_notify_url": submission.running_notify_url,
        "start_within_s": submission.start_within_s,
        "end_within_s": submission.end_within_s,
        "attempt_within_s": submission.attempt_within_s,
    }
    return orjson.dumps(said).decode()


def _said(stage: Stage) -> Any:
    """What orjson writes of it."""
    if isinstance(stage, Diffusion) and _silent(stage) == _SILENCE:
        return dict(zip(_OTHERS, _others(stage), strict=True))
    return stage


def loaded(text: str) -> Submission:
    """It is shared, and must not be changed: clients ask for the same jobs again and again."""
    return _remembered(text) if len(text) <= REMEMBERED_CHARACTERS else _read(text)


def _read(text: str) -> Submission:
    return Submission(**dict(_Stored.model_validate_json(text)))


_remembered = lru_cache(maxsize=512)(_read)
