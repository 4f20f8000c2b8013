"""A job's pictures as its links show them."""

import io
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis
from PIL import Image as PillowImage

from jobs.job import Image, JobStatus
from jobs.links import Links
from jobs.storage import s3_files
from jobs.storage.database import Database
from jobs.storage.job_store import JobStore
from jobs.storage.local_files import LocalFiles
from orchestrator.app import WebOptions, now
from tests import one_job
from tests.orchestrator.conftest import SECRET, Api, body, open_api, path_of
from tests.s3 import new_bucket, place_at

LEASE = timedelta(minutes=1)
PICTURE = b"\x89PNG as the worker wrote it"


@pytest.fixture
async def shown(api: Api, database: Database, files_folder: Path) -> dict[str, Any]:
    """The one picture of a job that succeeded, as GET tells of it."""
    _, answer = await api.post_job(body())
    jobs = JobStore(database)
    job = await one_job.claim(jobs, int(answer["job"]["id"]), 1, worker="test:1", lease=LEASE)
    assert job is not None
    image = Image(id=uuid4(), key=f"outputs/{job.id}/1/0.png", format="png", width=512, height=512)
    await LocalFiles(files_folder).put(image.key, PICTURE)
    await one_job.succeed(jobs, job, [image])
    told = await api.job(str(job.id))
    assert told["status"] == JobStatus.SUCCESS
    picture: dict[str, Any] = told["successInfo"]["images"][0]
    return picture


async def _execute(database: Database, statement: str) -> list[Any]:
    async with database.connection() as connection:
        return [row[0] for row in await connection.fetch(statement)]


async def get(api: Api, path: str) -> tuple[int, str, bytes]:
    """Without a key: the link is enough."""
    async with api.client.get(path) as response:
        return response.status, response.content_type, await response.read()


async def test_a_link_shows_the_picture_without_a_key(api: Api, shown: dict[str, Any]) -> None:
    assert await get(api, path_of(shown["url"])) == (200, "image/png", PICTURE)
    assert shown["image"] == {"format": "png", "width": 512, "height": 512}


@pytest.mark.parametrize(
    ("asked", "status", "content", "told"),
    [
        ("bytes=0-3", 206, PICTURE[:4], "bytes 0-3/27"),
        ("bytes=4-", 206, PICTURE[4:], "bytes 4-26/27"),
        ("bytes=-3", 206, PICTURE[-3:], "bytes 24-26/27"),
        ("bytes=20-900", 206, PICTURE[20:], "bytes 20-26/27"),
        ("bytes=27-", 416, b"", "bytes */27"),
        ("bytes=0-1,4-5", 200, PICTURE, None),
        ("lines=1-2", 200, PICTURE, None),
        ("bytes=9-3", 200, PICTURE, None),
    ],
)
async def test_a_part_of_the_picture_may_be_asked_for(
    api: Api, shown: dict[str, Any], asked: str, status: int, content: bytes, told: str | None
) -> None:
    async with api.client.get(path_of(shown["url"]), headers={"Range": asked}) as response:
        assert (response.status, response.headers.get("Content-Range")) == (status, told)
        assert await response.read() == content


async def test_the_head_is_that_of_the_whole_without_it(api: Api, shown: dict[str, Any]) -> None:
    async with api.client.head(path_of(shown["url"])) as head, api.client.get(path_of(shown["url"])) as whole:
        pass

    assert (head.status, head.headers["Content-Length"]) == (200, str(len(PICTURE)))
    assert head.headers["Accept-Ranges"] == "bytes"
    assert {**head.headers, "Date": ""} == {**whole.headers, "Date": ""}


async def test_a_picture_of_many_pieces_comes_whole(api: Api, shown: dict[str, Any], files_folder: Path) -> None:
    large = bytes(range(256)) * 8000
    (path,) = files_folder.rglob("0.png")
    path.write_bytes(large)

    assert await get(api, path_of(shown["url"])) == (200, "image/png", large)


async def test_a_link_lives_no_longer_than_its_picture(api: Api, shown: dict[str, Any], database: Database) -> None:
    assert shown["expiredIn"] == "86400"
    (job_id,) = await _execute(database, "UPDATE resources SET expires_at = now() + interval '1 hour' RETURNING job_id")
    soon = (await api.job(str(job_id)))["successInfo"]["images"][0]
    await _execute(database, "UPDATE resources SET expires_at = now() - interval '1 second' RETURNING job_id")
    over = (await api.job(str(job_id)))["successInfo"]["images"][0]

    assert 3500 < int(soon["expiredIn"]) <= 3600
    assert (over["id"], over["expiredIn"]) == (shown["id"], "0")
    assert [(await get(api, path_of(each["url"])))[0] for each in (shown, soon)] == [404, 404]


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


async def test_a_store_of_pictures_that_is_away_is_a_503_with_a_time_to_come_again(
    options: WebOptions, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_files, "TRIES", 1)
    resource_id = uuid4()
    link = Links("", SECRET, now).sign("GET", f"/v1/images/{resource_id}", LEASE)
    async with open_api(replace(options, files=place_at("http://127.0.0.1:1")), database, redis) as api:
        _, resource = await api.call("POST", "/v1/resource/image", json={})
        await _execute(
            database,
            f"INSERT INTO resources (id, account_id, key, format, stored_at) "
            f"SELECT '{resource_id}', id, 'k', 'png', now() FROM accounts RETURNING id",
        )
        async with api.client.get(link) as shown:
            pass
        async with api.client.put(path_of(resource["putUrl"]), data=png()) as uploaded:
            answer = await uploaded.json()

    assert [(each.status, each.headers["Retry-After"]) for each in (shown, uploaded)] == [(503, "1")] * 2
    assert answer["code"] == 14 and "pictures" in answer["message"]


async def test_with_a_bucket_pictures_come_and_go_as_with_a_folder(
    options: WebOptions, database: Database, redis: ArqRedis, s3_endpoint: str
) -> None:
    place = await new_bucket(s3_endpoint)
    async with open_api(replace(options, files=place), database, redis) as api:
        resource_id, status, _ = await api.upload(png())
        link = Links("", SECRET, now).sign("GET", f"/v1/images/{resource_id}", LEASE)
        whole = await get(api, link)
        async with api.client.get(link, headers={"Range": "bytes=1-3"}) as part:
            part_content = await part.read()
        absent = await get(api, Links("", SECRET, now).sign("GET", f"/v1/images/{uuid4()}", LEASE))

    assert (status, whole[:2], absent[0]) == (200, (200, "image/png"), 404)
    assert PillowImage.open(io.BytesIO(whole[2])).size == (64, 48)
    assert (part.status, part_content) == (206, b"PNG")


def png() -> bytes:
    content = io.BytesIO()
    PillowImage.new("RGB", (64, 48), "red").save(content, "PNG")
    return content.getvalue()
