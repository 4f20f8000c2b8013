"""Stored rows as the domain knows them: jobs, and the images that they made."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from jobs.job import Failure, FailureCode, Image, Job, JobStatus, ToldJob
from jobs.storage.database import Connection, queries, rows_of
from jobs.storage.submission_json import loaded


async def images_of(connection: Connection, rows: Iterable[Any]) -> defaultdict[int, tuple[Image, ...]]:
    """By job. Only those that succeeded have any."""
    images: defaultdict[int, tuple[Image, ...]] = defaultdict(tuple)
    if done := [row["id"] for row in rows if row["status"] == JobStatus.SUCCESS]:
        for row in await rows_of(queries.images_of_jobs(connection, job_ids=done)):
            images[row["job_id"]] += (image_of(row),)
    return images


def image_of(row: Any) -> Image:
    """A stored row of `resources`."""
    return Image(
        id=row["id"],
        key=row["key"],
        format=row["format"],
        width=row["width"],
        height=row["height"],
        expires_at=row["expires_at"],
    )


def told_of(rows: Iterable[Any]) -> list[ToldJob]:
    """The rows of one job follow each other: one for each picture, or one without."""
    return [_told(list(of_job)) for _, of_job in groupby(rows, itemgetter("job_id"))]


def _told(rows: Sequence[Any]) -> ToldJob:
    images = tuple(image_of(each) for each in rows if each["id"])
    return ToldJob(id=rows[0]["job_id"], images=images, **_told_columns(rows[0]))


def job_of(row: Any, images: tuple[Image, ...]) -> Job:
    return Job(
        id=row["id"],
        images=images,
        fingerprint=row["fingerprint"],
        submission=loaded(row["submission"]),
        handed_back=row["handed_back"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        **_told_columns(row),
    )


def _told_columns(row: Any) -> dict[str, Any]:
    """What every job has, whatever its row calls its id."""
    code = row["failure_code"]
    return {
        "account_id": row["account_id"],
        "request_id": row["request_id"],
        "dialect": row["dialect"],
        "credits": row["credits"],
        "status": JobStatus(row["status"]),
        "attempt": row["attempt"],
        "cost_s": row["cost_s"],
        "kind": row["work_kind"],
        "need": row["need"],
        "failure": Failure(code=FailureCode(code), reason=row["failure_reason"]) if code else None,
    }
