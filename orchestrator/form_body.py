"""A multipart form whose last field is a file. It does not say what the fields mean."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import HttpProcessingError

from jobs.errors import Fault, InvalidSubmission, TooLarge

FILE = "file"
MAX_FIELDS = 40
MAX_FIELD_BYTES = 2**14

T = TypeVar("T")


async def read_form(request: web.Request, admit: Callable[[Mapping[str, str]], tuple[T, int]]) -> tuple[T, bytes]:
    """What `admit` made of the fields, by their names in lower case, and the file.

    `admit` also says how many bytes the file may have; what it raises is raised before the file is read.
    Raises InvalidSubmission for what is no such form, TooLarge.
    """
    async with _understood():
        if not request.content_type.startswith("multipart/"):
            raise _fault("", "the body must be a form: multipart/form-data")
        form = await request.multipart()
        fields: dict[str, str] = {}
        while (part := await _next(form)).name != FILE:
            await _add(fields, part)
        admitted, max_bytes = admit(fields)
        content = await _bounded(part, max_bytes)
        if await form.next() is not None:
            raise _fault(FILE, "must be the last field")
        return admitted, content


async def read_bounded(chunks: AsyncIterator[bytes], limit: int) -> bytes:
    """Raises TooLarge as soon as there is one byte too many."""
    content = bytearray()
    async for chunk in chunks:
        content += chunk
        if len(content) > limit:
            raise TooLarge(f"The picture is over {limit} bytes.")
    return bytes(content)


async def _next(form: MultipartReader) -> BodyPartReader:
    part = await form.next()
    if part is None:
        raise _fault(FILE, "is required, as the last field")
    if not isinstance(part, BodyPartReader) or part.name is None:
        raise _fault("", "every part of the form must be a field with a name")
    return part


async def _add(fields: dict[str, str], part: BodyPartReader) -> None:
    name = str(part.name)
    if len(fields) == MAX_FIELDS:
        raise _fault("", f"the form has more than {MAX_FIELDS} fields before its file")
    if name.lower() in fields:
        raise _fault(name[:80], "comes twice")
    value = bytearray()
    while chunk := await part.read_chunk():
        value += chunk
        if len(value) > MAX_FIELD_BYTES:
            raise _fault(name[:80], f"is over {MAX_FIELD_BYTES} bytes")
    fields[name.lower()] = value.decode()


async def _bounded(part: BodyPartReader, limit: int) -> bytes:
    async def chunks() -> AsyncIterator[bytes]:
        while chunk := await part.read_chunk(2**16):
            yield chunk

    return await read_bounded(chunks(), limit)


@asynccontextmanager
async def _understood() -> AsyncIterator[None]:
    try:
        yield
    except (ValueError, LookupError, RuntimeError, AssertionError, HttpProcessingError) as error:
        raise _fault("", f"the form cannot be read: {error}") from error


def _fault(path: str, reason: str) -> InvalidSubmission:
    return InvalidSubmission([Fault(path, reason)])
