"""Where pictures lie, by key. A key is made by Darkroom, never by a client; it does not say who may see the picture."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias
from uuid import UUID

from jobs.errors import DarkroomError
from jobs.storage.local_files import LocalFiles


class Files(Protocol):
    """Keys are paths like `outputs/7/1/0.png`. While the store is away every method raises Unavailable or OSError."""

    async def put(self, key: str, content: bytes) -> None:
        """Durable when it returns; a reader sees all of it or nothing. May be repeated."""

    async def get(self, key: str) -> bytes:
        """Raises NotFound."""

    async def size(self, key: str) -> int:
        """In bytes. Raises NotFound."""

    def chunks(self, key: str, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` to before `stop`, in pieces. Raises NotFound before the first."""

    async def delete(self, key: str) -> None:
        """Where nothing is, nothing happens."""

    async def delete_folder(self, folder: str) -> None:
        """Everything whose key begins with `folder` and a slash."""


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place:
    """A bucket. `endpoint` None is Amazon's own; without keys they are looked for where its tools look."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)


FilesPlace: TypeAlias = Path | S3Place
"""A local folder, or a bucket."""


@asynccontextmanager
async def open_files(place: FilesPlace) -> AsyncIterator[Files]:
    match place:
        case Path():
            yield LocalFiles(place)
        case S3Place():
            async with _open_s3(place) as files:
                yield files


def upload_folder(resource_id: UUID) -> str:
    return f"uploads/{resource_id}"


def output_folder(job_id: int, attempt: int) -> str:
    """The attempt is in the key: a late writer cannot touch what its successor stored."""
    return f"outputs/{job_id}/{attempt}"


def _open_s3(place: S3Place) -> AbstractAsyncContextManager[Files]:
    try:
        # Late: an installation that keeps its files in a folder does not need the 20 MB behind it.
        from jobs.storage.s3_files import open_s3
    except ImportError as error:
        raise DarkroomError("DARKROOM_FILES=s3 needs an extra: pip install 'darkroom[s3]'") from error
    return open_s3(place)
