"""All processes of an installation keep their files in one place, or learn that they do not."""

import asyncio
from pathlib import Path

import pytest

from jobs.storage.database import Database
from jobs.storage.files import FilesPlace, open_files
from jobs.storage.files_token import TOKEN_FILE, token_missing_in
from tests.s3 import new_bucket


@pytest.fixture(params=["folder", "s3"])
async def places(request: pytest.FixtureRequest, tmp_path: Path) -> list[FilesPlace]:
    if request.param == "folder":
        return [tmp_path / "one", tmp_path / "another"]
    endpoint = request.getfixturevalue("s3_endpoint")
    return [await new_bucket(endpoint), await new_bucket(endpoint)]


async def missing(place: FilesPlace, database: Database) -> str | None:
    async with open_files(place) as files:
        return await token_missing_in(files, database)


async def held(place: FilesPlace) -> str:
    async with open_files(place) as files:
        return (await files.get(TOKEN_FILE)).decode()


async def test_the_first_place_is_the_installations_and_no_other(places: list[FilesPlace], database: Database) -> None:
    first, other = places

    assert [await missing(each, database) for each in (first, first)] == [None, None]
    assert await missing(other, database) == await held(first)


async def test_of_two_places_at_once_one_is_the_installations(places: list[FilesPlace], database: Database) -> None:
    told = await asyncio.gather(*(missing(place, database) for place in places * 4))

    right, wrong = sorted({*told}, key=lambda token: token is not None)
    assert right is None
    assert wrong == await held(places[told.index(None)])
    assert told in ([None, wrong] * 4, [wrong, None] * 4)


async def test_a_folder_that_was_moved_with_what_is_in_it_stays_the_installations(
    tmp_path: Path, database: Database
) -> None:
    await missing(tmp_path / "before", database)
    (tmp_path / "before").rename(tmp_path / "after")

    assert await missing(tmp_path / "after", database) is None


async def test_the_place_of_a_process_that_died_at_its_first_start_is_taken_as_it_is(
    tmp_path: Path, database: Database
) -> None:
    (tmp_path / TOKEN_FILE).write_text("a0b1\n")  # and PostgreSQL had not committed

    assert await missing(tmp_path, database) is None
    assert await missing(tmp_path / "elsewhere", database) == "a0b1"


async def test_a_place_that_can_only_be_read_is_not_good_enough(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await missing(tmp_path, database)

    def read_only(_path: Path, *_: str) -> None:
        raise OSError("read-only")

    monkeypatch.setattr("jobs.storage.local_files._write", read_only)
    with pytest.raises(OSError, match="read-only"):
        await missing(tmp_path, database)
