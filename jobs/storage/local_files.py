"""Pictures in a local folder, by key. A key is made by Darkroom, never by a client."""

import asyncio
import os
from pathlib import Path
from uuid import uuid4

from jobs.errors import NotFound


class LocalFiles:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def put(self, key: str, content: bytes) -> None:
        """Durable when it returns; a reader sees all of it or nothing."""
        await asyncio.to_thread(_write, self._folder / key, content)

    async def get(self, key: str) -> bytes:
        """Raises NotFound."""
        try:
            return await asyncio.to_thread((self._folder / key).read_bytes)
        except FileNotFoundError as error:
            raise NotFound("This picture is no longer kept.") from error


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
