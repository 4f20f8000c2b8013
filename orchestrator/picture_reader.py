"""Uploaded pictures read, and looked at, in processes of their own, at most a few at once.

What is read, `uploaded_picture` says; what is made of it, `preprocessed_picture`.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import structlog

from jobs.errors import Fault, InvalidSubmission, Unavailable
from jobs.preprocessors import Preprocessor
from orchestrator.uploaded_picture import UploadedPicture, refusal

PROCESSES = 2
TURN_WITHIN_S = 60
# The worst honest picture of 40 megapixels takes ten on a slow core.
COMPUTE_WITHIN_S = 30
# The process bounds what it computes; this is for one that does not even do that.
READ_WITHIN_S = 90
# For one whose answers have ended.
ENDS_WITHIN_S = 1
# Not the database's address, nor the secret that signs links.
ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME")
# numpy's linear algebra would reserve more memory than the process has, for threads that nothing needs.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

log = structlog.get_logger()


class PictureReader:
    """Open it with `open_picture_reader`."""

    def __init__(self, max_pixels: int, compute_within_s: float) -> None:
        self._bounds = str(max_pixels), str(compute_within_s)
        self._turns = asyncio.Semaphore(PROCESSES)
        self._idle: list[Process] = []

    async def read(self, content: bytes, preprocessor: Preprocessor | None = None) -> UploadedPicture:
        """With a preprocessor, what that makes of it.

        Raises InvalidSubmission for what is no single picture within the bounds, Unavailable in a crowd."""
        try:
            async with asyncio.timeout(TURN_WITHIN_S):
                await self._turns.acquire()
        except TimeoutError as error:
            raise Unavailable("Too many pictures are coming in; send it again.") from error
        try:
            return await self._read(content, preprocessor or "")
        finally:
            self._turns.release()

    async def close(self) -> None:
        for process in self._idle:
            await _end(process)

    async def _read(self, content: bytes, preprocessor: str) -> UploadedPicture:
        process = self._idle.pop() if self._idle else await _start(self._bounds)
        try:
            async with asyncio.timeout(READ_WITHIN_S):
                head, png = await _ask(process, content, preprocessor)
        except (TimeoutError, EOFError, ConnectionError) as error:
            await _end(process, by_itself_within_s=ENDS_WITHIN_S)
            log.warning("picture_process_ended", exit_code=process.returncode)
            raise refusal("takes too long to decode, or breaks the decoder") from error
        except BaseException:  # the client has gone: what the process says now, nobody would read
            await _end(process)
            raise
        self._idle.append(process)
        if "refusal" in head:
            raise InvalidSubmission([Fault("", head["refusal"])])
        return UploadedPicture(png=png, width=head["width"], height=head["height"], digest=head["digest"])


@asynccontextmanager
async def open_picture_reader(
    max_pixels: int, *, compute_within_s: float = COMPUTE_WITHIN_S
) -> AsyncIterator[PictureReader]:
    """Its processes start with the first pictures, and end on leaving."""
    reader = PictureReader(max_pixels, compute_within_s)
    try:
        yield reader
    finally:
        await reader.close()


async def _start(bounds: tuple[str, str]) -> Process:
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    environment |= ONE_THREAD
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    command = [sys.executable, "-m", "orchestrator.picture_process", *bounds]
    return await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, env=environment)


async def _ask(process: Process, content: bytes, preprocessor: str) -> tuple[dict[str, Any], bytes]:
    assert process.stdin is not None and process.stdout is not None  # it was started with pipes
    process.stdin.write(f"{len(content)} {preprocessor}\n".encode())
    process.stdin.write(content)
    await process.stdin.drain()
    line = await process.stdout.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    head = json.loads(line)
    return head, await process.stdout.readexactly(head.get("bytes", 0))


async def _end(process: Process, *, by_itself_within_s: float = 0) -> None:
    # To kill what is just ending would lose how it ended, which the log tells.
    with suppress(TimeoutError):
        async with asyncio.timeout(by_itself_within_s):
            await process.wait()
    if process.returncode is None:
        process.kill()
    await process.communicate()  # and not `wait`, which leaves the pipes open
