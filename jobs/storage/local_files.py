"""Pictures in a local folder, by key."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from jobs.errors import NotFound

CHUNK_BYTES = 2**18
WRITE_TRIES = 5


class LocalFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, content: bytes) -> None:
        await asyncio.to_thread(_write_surely, self._folder / key, content)

    async def get(self, key: str) -> bytes:
        try:
            return await asyncio.to_thread((self._folder / key).read_bytes)
        except FileNotFoundError as error:
            raise _gone() from error

    async def size(self, key: str) -> int:
        try:
            return (await asyncio.to_thread((self._folder / key).stat)).st_size
        except FileNotFoundError as error:
            raise _gone() from error

    async def chunks(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        file = await self._open(key, start)
        try:
            for position in range(start, stop, CHUNK_BYTES):
                yield await asyncio.to_thread(file.read, min(CHUNK_BYTES, stop - position))
        finally:
            file.close()

    async def delete(self, key: str) -> None:
        await asyncio.to_thread(_unlink, self._folder, self._folder / key)

    async def delete_folder(self, folder: str) -> None:
        await asyncio.to_thread(_remove_tree, self._folder, self._folder / folder)

    async def _open(self, key: str, start: int) -> BinaryIO:
        try:
            return await asyncio.to_thread(_opened_at, self._folder / key, start)
        except FileNotFoundError as error:
            raise _gone() from error


def _gone() -> NotFound:
    return NotFound("This picture is no longer kept.")


def _opened_at(path: Path, start: int) -> BinaryIO:
    file = path.open("rb")
    file.seek(start)
    return file


def _write_surely(path: Path, content: bytes) -> None:
    for _ in range(WRITE_TRIES - 1):
        try:
            return _write(path, content)
        except (FileNotFoundError, FileExistsError):
            # Between the making of the folder and its use, a deletion that had just emptied it took it away.
            continue
    return _write(path, content)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # Else a loss of power could forget the name of a file whose content is safe.
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(root: Path, path: Path) -> None:
    path.unlink(missing_ok=True)
    _remove_empty(root, path.parent)


def _remove_tree(root: Path, folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    _remove_empty(root, folder.parent)


def _remove_empty(root: Path, folder: Path) -> None:
    while folder != root:
        try:
            folder.rmdir()
        except OSError:
            return  # something is in it, or another deletion was faster
        folder = folder.parent
