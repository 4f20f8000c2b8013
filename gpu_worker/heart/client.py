"""The worker's side of its heart, the process that renews its lease while its own loop cannot.

Loading a checkpoint, or one long call of a driver, may hold Python's lock for longer than a lease; the heart has a lock
of its own. It beats only as long as it hears from the worker's loop.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from jobs.errors import AttemptLost
from jobs.storage.background import beside

SIGN_OF_LIFE_EVERY_S = 1
STOP_WITHIN_S = 2


class Heart:
    """A LeaseKeeper. Open it with `open_heart`. `has_stopped` is set when its process has died."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._kept: dict[tuple[int, int], asyncio.Future[None]] = {}
        self._untold = bytearray()
        self.has_stopped = asyncio.Event()

    async def keep(self, job_id: int, attempt: int) -> None:
        """Raises AttemptLost as well where the heart has died: then the lease lapses."""
        if self.has_stopped.is_set():
            raise AttemptLost
        lost = self._kept[job_id, attempt] = asyncio.get_running_loop().create_future()
        self._tell({"keep": [job_id, attempt]})
        try:
            await lost
        finally:
            del self._kept[job_id, attempt]
            self._tell({"drop": [job_id, attempt]})

    async def live(self) -> None:
        """Tells the heart that this loop turns."""
        while True:
            self._tell({})
            await asyncio.sleep(SIGN_OF_LIFE_EVERY_S)

    async def listen(self) -> None:
        """Until the heart dies: then all that it kept is lost."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            job_id, attempt = json.loads(line)["lost"]
            self._lose((job_id, attempt))
        self.has_stopped.set()
        for each in list(self._kept):
            self._lose(each)

    def _lose(self, attempt: tuple[int, int]) -> None:
        lost = self._kept.get(attempt)
        if lost is not None and not lost.done():
            lost.set_exception(AttemptLost())

    def _tell(self, message: dict[str, Any]) -> None:
        """In the loop's next turn, together with all else that is told in this one."""
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._write)
        self._untold += json.dumps(message).encode() + b"\n"

    def _write(self) -> None:
        pipe = self._process.stdin
        if pipe is not None and not pipe.is_closing():
            pipe.write(bytes(self._untold))
        self._untold.clear()


@asynccontextmanager
async def open_heart() -> AsyncIterator[Heart]:
    """Its process reads the same environment, and ends with this one, however this one ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "gpu_worker.heart", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    heart = Heart(process)
    async with beside(heart.listen(), heart.live()):
        try:
            yield heart
        finally:
            await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), STOP_WITHIN_S)
    except TimeoutError:
        process.kill()
