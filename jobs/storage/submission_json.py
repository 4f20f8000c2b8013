"""Submissions as the JSON text that a row of `jobs` keeps. It stores nothing.

Rows are read for as long as there are jobs: a new field of a stage needs a default that says nothing.
"""

from typing import Annotated

import orjson
from pydantic import BaseModel, Discriminator

from jobs.stages import Stage
from jobs.submission import Submission


class _Stored(BaseModel):
    """A Submission whose stages are told apart by their type: else each would be tried as every kind."""

    request_id: str
    stages: tuple[Annotated[Stage, Discriminator("type")], ...]
    notify_url: str | None
    running_notify_url: str | None


def dumped(submission: Submission) -> str:
    return orjson.dumps(submission).decode()


def loaded(text: str | bytes) -> Submission:
    stored = _Stored.model_validate_json(text)
    return Submission(
        request_id=stored.request_id,
        stages=stored.stages,
        notify_url=stored.notify_url,
        running_notify_url=stored.running_notify_url,
    )
