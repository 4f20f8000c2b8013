"""A stored file as an answer: in pieces as they come, whole or the part that was asked for."""

from contextlib import aclosing

import structlog
from aiohttp import web

from jobs.errors import NotFound, Unavailable
from jobs.storage.files import Files

log = structlog.get_logger()


async def stream_file(request: web.Request, files: Files, key: str, headers: dict[str, str]) -> web.StreamResponse:
    """Raises NotFound before anything is sent."""
    size = await files.size(key)
    response, start, stop = _begun(request, size, headers)
    if response.status == 416:
        return response
    async with aclosing(files.chunks(key, start, stop)) as chunks:
        first = b"" if request.method == "HEAD" else await anext(chunks, b"")
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        try:
            await response.write(first)
            async for chunk in chunks:
                await response.write(chunk)
        except (NotFound, Unavailable, OSError) as error:
            # Too late for another answer: that the connection breaks is all that can be told. Or it was the client.
            log.warning("picture_cut_short", error=repr(error))
            if request.transport is not None:
                request.transport.abort()
    return response


def _begun(request: web.Request, size: int, headers: dict[str, str]) -> tuple[web.StreamResponse, int, int]:
    part = _part(request)
    if part is None:
        return _sized(200, size, headers), 0, size
    start, stop, _ = part.indices(size)
    if start >= stop:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"}), 0, 0
    headers = headers | {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    return _sized(206, stop - start, headers), start, stop


def _part(request: web.Request) -> slice | None:
    """What the Range header asks for. One that cannot be followed counts as none, as RFC 9110 has it."""
    # There are no ETags, so what If-Range asks can never be true.
    if "Range" not in request.headers or "If-Range" in request.headers:
        return None
    if request.headers["Range"].endswith("=-0"):  # aiohttp reads it as all of the file
        return slice(0, 0)
    try:
        return request.http_range
    except ValueError:
        return None


def _sized(status: int, length: int, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers | {"Accept-Ranges": "bytes"})
    response.content_length = length
    return response
