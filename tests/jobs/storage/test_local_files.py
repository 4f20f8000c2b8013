import asyncio
import os
from pathlib import Path

import pytest

from jobs.errors import NotFound
from jobs.storage.local_files import LocalFiles


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "files")


def kept(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def test_what_was_put_is_got(files: LocalFiles) -> None:
    await files.put("outputs/1/2/0.png", b"picture")

    assert await files.get("outputs/1/2/0.png") == b"picture"


async def test_what_was_never_put_is_not_found(files: LocalFiles) -> None:
    with pytest.raises(NotFound):
        await files.get("outputs/1/2/0.png")


async def test_readers_see_one_whole_picture_while_many_write(files: LocalFiles, tmp_path: Path) -> None:
    contents = [bytes([i]) * 200_000 for i in range(4)]
    await files.put("a.png", contents[0])

    _, seen = await asyncio.gather(
        asyncio.gather(*(files.put("a.png", content) for content in contents * 3)),
        asyncio.gather(*(files.get("a.png") for _ in range(30))),
    )

    assert all(each in contents for each in seen)
    assert kept(tmp_path) == ["files/a.png"]


async def test_a_write_that_fails_leaves_the_old_picture_and_nothing_else(
    files: LocalFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await files.put("a.png", b"old")

    def full(_file: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space left"):
        await files.put("a.png", b"new")

    assert await files.get("a.png") == b"old"
    assert kept(tmp_path) == ["files/a.png"]
