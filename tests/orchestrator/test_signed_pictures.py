"""A job's pictures as its links show them."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jobs.job import Image, JobStatus
from jobs.storage.database import Database
from jobs.storage.job_store import JobStore
from jobs.storage.local_files import LocalFiles
from tests.orchestrator.conftest import Api, body, path_of

LEASE = timedelta(minutes=1)
PICTURE = b"\x89PNG as the worker wrote it"


@pytest.fixture
async def shown(api: Api, database: Database, files_folder: Path) -> dict[str, Any]:
    """The one picture of a job that succeeded, as GET tells of it."""
    _, answer = await api.post_job(body())
    jobs = JobStore(database)
    job = await jobs.claim(int(answer["job"]["id"]), 1, worker="test:1", lease=LEASE)
    assert job is not None
    image = Image(id=uuid4(), key=f"outputs/{job.id}/1/0.png", format="png", width=512, height=512)
    await LocalFiles(files_folder).put(image.key, PICTURE)
    await jobs.succeed(job, [image])
    told = await api.job(str(job.id))
    assert told["status"] == JobStatus.SUCCESS
    picture: dict[str, Any] = told["successInfo"]["images"][0]
    return picture


async def get(api: Api, path: str) -> tuple[int, str, bytes]:
    """Without a key: the link is enough."""
    async with api.client.get(path) as response:
        return response.status, response.content_type, await response.read()


async def test_a_link_shows_the_picture_without_a_key(api: Api, shown: dict[str, Any]) -> None:
    assert await get(api, path_of(shown["url"])) == (200, "image/png", PICTURE)
    assert shown["image"] == {"format": "png", "width": 512, "height": 512}


async def test_a_link_to_one_picture_opens_no_other(api: Api, shown: dict[str, Any]) -> None:
    other = shown["id"][:-1] + ("0" if shown["id"][-1] != "0" else "1")

    status, _, _ = await get(api, path_of(shown["url"]).replace(shown["id"], other))

    assert status == 403


async def test_a_picture_whose_file_has_gone_is_not_found(api: Api, shown: dict[str, Any], files_folder: Path) -> None:
    for path in files_folder.rglob("0.png"):
        path.unlink()

    status, _, _ = await get(api, path_of(shown["url"]))

    assert status == 404


async def test_an_output_is_where_another_job_may_begin(api: Api, other: Api, shown: dict[str, Any]) -> None:
    request = body()
    request["stages"][0]["inputInitialize"]["imageResourceId"] = shown["id"]

    ours, theirs = await api.post_job(request), await other.post_job(request)

    assert (ours[0], theirs[0]) == (200, 400)
