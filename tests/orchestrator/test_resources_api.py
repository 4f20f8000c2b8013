"""Pictures in and out, by signed links."""

import gzip
import io
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from arq.connections import ArqRedis
from PIL import Image

from jobs.job import Preview
from jobs.links import Links
from jobs.storage.progress_board import PreviewBytes, ProgressBoard
from orchestrator.app import now
from tests.orchestrator.conftest import MAX_UPLOAD_BYTES, SECRET, Api, body, path_of


def encoded(format: str = "PNG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, "red").save(content, format, **options)
    return content.getvalue()


def animated() -> bytes:
    frames = [Image.new("RGB", (64, 64), colour) for colour in ("red", "blue")]
    content = io.BytesIO()
    frames[0].save(content, "WEBP", save_all=True, append_images=frames[1:])
    return content.getvalue()


def bomb() -> bytes:
    """A valid header of 60,000 × 60,000 pixels."""
    header = (60_000).to_bytes(4) * 2 + b"\x08\x02\x00\x00\x00"
    chunk = len(header).to_bytes(4) + b"IHDR" + header + zlib.crc32(b"IHDR" + header).to_bytes(4)
    return b"\x89PNG\r\n\x1a\n" + chunk + encoded()[33:]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
async def test_an_uploaded_picture_becomes_the_beginning_of_a_job(api: Api, format: str) -> None:
    resource_id, status, answer = await api.upload(encoded(format))
    request = body()
    request["stages"][0]["inputInitialize"]["imageResourceId"] = resource_id

    accepted, _ = await api.post_job(request)

    assert (status, answer) == (200, {"Status": "OK"})
    assert accepted == 200


async def test_an_upload_is_kept_upright_and_without_metadata(api: Api, files_folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    exif[0x010E] = "where I live"

    resource_id, _, _ = await api.upload(encoded("JPEG", (64, 48), exif=exif))

    (file,) = (files_folder / "uploads" / resource_id).iterdir()
    kept = file.read_bytes()
    picture = Image.open(io.BytesIO(kept))
    assert (picture.format, picture.size) == ("PNG", (48, 64))
    assert b"where I live" not in kept and not picture.getexif()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (lambda: b"", 400),
        (lambda: b"hello", 400),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400),
        (lambda: encoded()[:60], 400),
        (lambda: encoded("JPEG", (640, 480))[:-700], 400),
        (lambda: encoded("GIF"), 400),
        (animated, 400),
        (bomb, 400),
        (lambda: encoded(size=(2000, 1000)), 400),
        (lambda: encoded() + bytes(MAX_UPLOAD_BYTES), 413),
    ],
)
async def test_what_is_no_bounded_picture_is_refused(api: Api, content: Callable[[], bytes], status: int) -> None:
    resource_id, answered, answer = await api.upload(content())

    assert answered == status, answer
    assert answer["message"]
    request = body()
    request["stages"][0]["inputInitialize"]["imageResourceId"] = resource_id
    assert (await api.post_job(request))[0] == 400


async def test_a_picture_of_another_account_is_refused_with_its_path(api: Api, other: Api) -> None:
    resource_id, _, _ = await other.upload(encoded())
    request = body()
    request["stages"][0]["inputInitialize"]["imageResourceId"] = resource_id

    status, answer = await api.post_job(request)

    assert status == 400
    (violation,) = answer["details"][0]["fieldViolations"]
    assert violation["field"] == "stages[0].inputInitialize.imageResourceId"


async def test_a_mask_that_is_not_there_is_refused_with_its_path(api: Api, other: Api) -> None:
    mask = encoded(size=(512, 512))
    (mine, *_), (theirs, *_) = await api.upload(mask), await other.upload(mask)
    request = body()
    request["stages"].append({"type": "IMAGE_TO_INPAINT", "imageToInpaint": {"maskImageResourceId": theirs}})

    status, answer = await api.post_job(request)

    assert status == 400
    (violation,) = answer["details"][0]["fieldViolations"]
    assert violation["field"] == "stages[2].imageToInpaint.maskImageResourceId"
    request["stages"][2]["imageToInpaint"]["maskImageResourceId"] = mine
    assert (await api.post_job(request))[0] == 200


async def test_an_upload_needs_its_own_unexpired_link(api: Api) -> None:
    _, resource = await api.call("POST", "/v1/resource/image", json={})
    path = path_of(resource["putUrl"])
    expired = Links("", SECRET, lambda: now() - timedelta(days=2)).sign(
        "PUT", f"/v1/resource/image/{resource['resourceId']}", timedelta(hours=1)
    )

    refused = [
        await api.call("PUT", address, data=encoded())
        for address in (path[:-1], path.split("?")[0], path.replace("expires=", "expires=9"), expired)
    ]
    as_get = await api.call("GET", path)

    assert [status for status, _ in refused] == [403] * 4
    assert as_get[0] in (403, 404, 405)


async def test_a_signed_link_shows_a_preview_and_no_other(api: Api, redis: ArqRedis) -> None:
    links, board = Links("", SECRET, now), ProgressBoard(redis)
    await board.put_preview(7, 1, PreviewBytes(Preview(index=0, number=2, format="jpeg", width=1, height=1), b"jpeg"))
    path = links.sign("GET", "/v1/previews/7-1-0-2", timedelta(minutes=1))

    async with api.client.get(path) as response:
        shown = (response.status, response.content_type, await response.read())
    gone = await api.call("GET", links.sign("GET", "/v1/previews/7-1-0-3", timedelta(minutes=1)))
    other = await api.call("GET", path.replace("7-1-0-2", "7-1-0-1"))

    assert shown == (200, "image/jpeg", b"jpeg")
    assert (gone[0], other[0]) == (404, 403)


async def test_an_upload_may_be_repeated_but_its_picture_stays(api: Api) -> None:
    _, resource = await api.call("POST", "/v1/resource/image", json={})
    path = path_of(resource["putUrl"])

    first, repeated, other = [
        await api.call("PUT", path, data=encoded(size=size)) for size in ((64, 48), (64, 48), (9, 9))
    ]

    assert (first[0], repeated[0], other[0]) == (200, 200, 404)


async def test_an_upload_may_come_packed_and_what_is_packed_otherwise_is_refused(api: Api) -> None:
    _, resource = await api.call("POST", "/v1/resource/image", json={})
    path, content, bomb = path_of(resource["putUrl"]), gzip.compress(encoded()), gzip.compress(bytes(50_000_000))

    async def put(content: bytes, encoding: str) -> int:
        status, _ = await api.call("PUT", path, data=content, headers={"Content-Encoding": encoding})
        return status

    assert [await put(content, "br"), await put(content[:-1], "gzip"), await put(bomb, "gzip")] == [400, 400, 413]
    assert await put(content, "gzip") == 200


@pytest.mark.parametrize("packed", [(b"", ""), (b"", "gzip"), (gzip.compress(b""), "gzip")])
async def test_an_upload_of_no_bytes_is_told_with_its_resource(api: Api, packed: tuple[bytes, str]) -> None:
    _, resource = await api.call("POST", "/v1/resource/image", json={})
    content, encoding = packed

    status, answer = await api.call(
        "PUT", path_of(resource["putUrl"]), data=content, headers={"Content-Encoding": encoding}
    )

    reason = f"the picture of resource {resource['resourceId']} has no bytes: the upload is empty"
    assert (status, answer["message"]) == (400, reason)
    assert answer["details"][0]["fieldViolations"] == [{"field": "body", "description": reason}]


@pytest.mark.parametrize("asked", [{"expireSec": "60"}, {"expire_sec": 60, "term": 2}, {}])
async def test_the_upload_address_is_given_for_a_bounded_time(api: Api, asked: dict[str, Any]) -> None:
    status, answer = await api.call("POST", "/v1/resource/image", json=asked)

    assert status == 200
    assert set(answer) == {"resourceId", "putUrl", "headers"}
    assert UUID(answer["resourceId"])


@pytest.mark.parametrize("asked", [{"expireSec": -1}, {"expireSec": 10**9}, {"term": 3}, {"size": 1}, []])
async def test_an_upload_that_asks_for_too_much_is_refused(api: Api, asked: Any) -> None:
    status, answer = await api.call("POST", "/v1/resource/image", json=asked)

    assert (status, answer["code"]) == (400, 3)


async def test_all_pictures_that_are_not_there_are_told_at_once(api: Api) -> None:
    there, _, _ = await api.upload(encoded())
    request = body()
    request["stages"][0]["inputInitialize"]["imageResourceId"] = "no id"
    request["stages"] += [
        {"type": "IMAGE_TO_INPAINT", "imageToInpaint": {"maskImageResourceId": name}} for name in (str(uuid4()), there)
    ]

    status, answer = await api.post_job(request)

    assert status == 400
    assert [each["field"] for each in answer["details"][0]["fieldViolations"]] == [
        "stages[0].inputInitialize.imageResourceId",
        "stages[2].imageToInpaint.maskImageResourceId",
    ]
