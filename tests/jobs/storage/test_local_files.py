"""What a folder adds to the promises of `test_files`."""

import asyncio
import os
from pathlib import Path

import pytest

from jobs.storage.local_files import LocalFiles


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    return LocalFiles(tmp_path / "files")


def kept(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


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
    assert kept(tmp_path) == ["files", "files/a.png"]


async def test_deletions_leave_no_empty_folder(files: LocalFiles, tmp_path: Path) -> None:
    for key in ("outputs/1/1/0.png", "outputs/1/2/0.png", "uploads/u/x.png"):
        await files.put(key, b"picture")

    await files.delete("uploads/u/x.png")
    await files.delete_folder("outputs/1/1")

    assert kept(tmp_path / "files") == ["outputs", "outputs/1", "outputs/1/2", "outputs/1/2/0.png"]


async def test_a_folder_is_emptied_and_filled_at_once(files: LocalFiles) -> None:
    async def put_and_delete(key: str) -> None:
        for _ in range(50):
            await files.put(key, b"picture")
            assert await files.get(key) == b"picture"
            await files.delete(key)

    await asyncio.gather(*(put_and_delete(f"uploads/{i}/x.png") for i in range(4)))
