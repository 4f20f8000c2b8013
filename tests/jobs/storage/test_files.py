"""What every store of pictures promises, on a folder and on a server that speaks S3."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.errors import DarkroomError, NotFound, Unavailable
from jobs.storage import s3_files
from jobs.storage.files import Files, FilesPlace, S3Place, open_files
from tests.s3 import new_bucket, place_at

KEY = "outputs/1/2/0.png"
CONTENT = bytes(range(256)) * 3000  # several pieces, and no piece like another


@pytest.fixture(params=["folder", "s3"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> FilesPlace:
    if request.param == "folder":
        return tmp_path / "files"
    return await new_bucket(request.getfixturevalue("s3_endpoint"))


@pytest.fixture
async def files(place: FilesPlace) -> AsyncIterator[Files]:
    async with open_files(place) as opened:
        yield opened


async def test_what_was_put_is_got(files: Files) -> None:
    await files.put(KEY, CONTENT)

    assert await files.get(KEY) == CONTENT
    assert await files.size(KEY) == len(CONTENT)


async def test_a_put_may_be_repeated(files: Files) -> None:
    await files.put(KEY, CONTENT)
    await files.put(KEY, CONTENT)

    assert await files.get(KEY) == CONTENT


@pytest.mark.parametrize(
    ("start", "stop"), [(0, len(CONTENT)), (0, 1), (7, 300_000), (len(CONTENT) - 1, len(CONTENT)), (5, 5)]
)
async def test_a_part_is_given_in_pieces(files: Files, start: int, stop: int) -> None:
    await files.put(KEY, CONTENT)

    pieces = [piece async for piece in files.chunks(KEY, start, stop)]

    assert b"".join(pieces) == CONTENT[start:stop]
    assert max(map(len, pieces), default=0) <= 2**18


async def test_what_was_never_put_is_not_found(files: Files) -> None:
    with pytest.raises(NotFound):
        await files.get(KEY)
    with pytest.raises(NotFound):
        await files.size(KEY)
    with pytest.raises(NotFound):
        await anext(aiter(files.chunks(KEY, 0, 1)))


async def test_what_was_deleted_is_gone_and_may_be_deleted_again(files: Files) -> None:
    for key in (KEY, "outputs/1/2/1.png"):
        await files.put(key, CONTENT)

    for _ in range(2):
        await files.delete(KEY)

    with pytest.raises(NotFound):
        await files.get(KEY)
    assert await files.get("outputs/1/2/1.png") == CONTENT


async def test_a_folder_is_deleted_with_all_in_it_and_its_namesakes_stay(files: Files) -> None:
    inside, outside = [f"outputs/1/{i}/{j}.png" for i in (2, 3) for j in range(6)], ["outputs/11/2/0.png", "uploads/1"]
    for key in [*inside, *outside]:
        await files.put(key, b"picture")

    for _ in range(2):
        await files.delete_folder("outputs/1")

    for key in inside:
        with pytest.raises(NotFound):
            await files.get(key)
    assert [await files.get(key) for key in outside] == [b"picture"] * 2


async def test_readers_see_one_whole_picture_while_many_write(files: Files) -> None:
    contents = [bytes([i]) * 200_000 for i in range(4)]
    await files.put(KEY, contents[0])

    _, seen = await asyncio.gather(
        asyncio.gather(*(files.put(KEY, content) for content in contents * 3)),
        asyncio.gather(*(files.get(KEY) for _ in range(30))),
    )

    assert all(each in contents for each in seen)


async def test_a_folder_of_more_than_one_page_is_deleted_whole(
    s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_files, "PAGE", 2)
    async with s3_files.open_s3(await new_bucket(s3_endpoint)) as files:
        await asyncio.gather(*(files.put(f"outputs/1/{i}.png", b"x") for i in range(5)))

        await files.delete_folder("outputs/1")

        assert [page async for page in files._pages("outputs")] == [[]]


async def test_buckets_that_are_shared_are_told_apart_by_their_prefix(s3_endpoint: str) -> None:
    ours = await new_bucket(s3_endpoint, prefix="/ours/")
    async with open_files(ours) as files, open_files(place_at(s3_endpoint, ours.bucket)) as all_files:
        await files.put(KEY, CONTENT)

        assert await all_files.get(f"ours/{KEY}") == CONTENT
        with pytest.raises(NotFound):
            await all_files.get(KEY)


async def test_a_store_that_is_away_is_unavailable_within_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3_files, "TRIES", 2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        async with open_files(place_at(f"http://127.0.0.1:{taken.getsockname()[1]}")) as files:
            for attempt in (files.put(KEY, b""), files.get(KEY), files.size(KEY), files.delete(KEY)):
                with pytest.raises(Unavailable):
                    await attempt
            with pytest.raises(Unavailable):
                await anext(aiter(files.chunks(KEY, 0, 1)))


async def test_a_store_that_never_answers_is_unavailable_when_the_call_has_had_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(s3_files, "CALL_WITHIN_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with open_files(place_at(f"http://127.0.0.1:{silent.getsockname()[1]}")) as files:
            with pytest.raises(Unavailable):
                await files.get(KEY)


async def test_a_bucket_that_is_not_there_is_unavailable_and_not_an_absent_picture(s3_endpoint: str) -> None:
    async with open_files(place_at(s3_endpoint, "absent")) as files:
        with pytest.raises(Unavailable):
            await files.get(KEY)


async def test_without_the_extra_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jobs.storage.s3_files")
    monkeypatch.setitem(sys.modules, "aiobotocore.session", None)

    with pytest.raises(DarkroomError, match=r"darkroom\[s3\]"):
        async with open_files(S3Place(bucket="b")):
            pass


def test_a_secret_key_is_not_shown() -> None:
    assert "hush" not in repr(S3Place(bucket="b", access_key="key", secret_key="hush"))
