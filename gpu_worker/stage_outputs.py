"""What finished stages made is kept by content address, so that another attempt goes on at the first unfinished stage.

So does any other job of the account that begins with the same stages and seeds. Whatever goes wrong here costs time
and no job: then the stages run again.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import orjson
import structlog

from gpu_worker.pictures import open_picture, png_bytes
from jobs.errors import DarkroomError
from jobs.job import Job
from jobs.stages import Stage
from jobs.stages.canvas import Canvas
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.files import Files
from jobs.storage.stage_store import StageOutput, StageStore
from jobs.upscalers import is_latent

# INPUT_INITIALIZE makes nothing that is worth keeping.
FIRST = 2

log = structlog.get_logger()


class StageOutputs:
    """`drawn_by` names what else decides a picture: the models and the programs."""

    def __init__(self, store: StageStore, files: Files, *, drawn_by: str, kept: timedelta) -> None:
        self._store = store
        self._files = files
        self._drawn_by = drawn_by
        self._kept = kept

    async def resume(self, job: Job) -> tuple[int, Canvas, Sequence[str]]:
        """How many stages need not run again, what they made, and what they noted."""
        outputs = {self._output(job, done).address: done for done in _worth_keeping(job.submission.stages)}
        try:
            found = await self._store.find(job.account_id, list(outputs), kept=self._kept) if outputs else {}
            if found:
                furthest = max(found, key=lambda address: outputs[address])
                canvas = await self._canvas(StageOutput(job.account_id, furthest), found[furthest])
                log.info("stages_resumed", done=outputs[furthest])
                return outputs[furthest], canvas, found[furthest]["notes"]
        except (*DATABASE_AWAY, DarkroomError) as error:
            log.warning("stages_not_resumed", error=repr(error))
        return 0, Canvas(), []

    async def keep(self, job: Job, done: int, canvas: Canvas, notes: Sequence[str]) -> None:
        """After each part."""
        if done not in _worth_keeping(job.submission.stages):
            return
        output = self._output(job, done)
        told = {"seeds": canvas.seeds, "size": canvas.size, "pictures": len(canvas.pictures), "notes": list(notes)}
        try:
            # The row first: the cleaner goes by rows, and would never find files without one. Who finds a row without
            # all its files draws again.
            await self._store.keep(output, told, kept=self._kept)
            for position, picture in enumerate(canvas.pictures):
                await self._files.put(_key(output, position), await asyncio.to_thread(png_bytes, picture))
        except (*DATABASE_AWAY, DarkroomError) as error:
            log.warning("stage_not_kept", error=repr(error))

    async def _canvas(self, output: StageOutput, told: Any) -> Canvas:
        contents = [await self._files.get(_key(output, position)) for position in range(told["pictures"])]
        pictures = [await asyncio.to_thread(open_picture, content) for content in contents]
        size = tuple(told["size"]) if told["size"] else None
        return Canvas(seeds=tuple(told["seeds"]), pictures=tuple(pictures), size=size)

    def _output(self, job: Job, done: int) -> StageOutput:
        content = orjson.dumps([self._drawn_by, job.submission.stages[:done]])
        return StageOutput(job.account_id, hashlib.sha256(content).digest())


def parts(stages: Sequence[Stage], done: int) -> list[range]:
    """The positions of the stages that are left, by what is kept in between."""
    ends = [each for each in _worth_keeping(stages) if each > done] + [len(stages)]
    return [range(begin, end) for begin, end in zip([done, *ends], ends, strict=False)]


def _worth_keeping(stages: Sequence[Stage]) -> list[int]:
    """After how many stages: not after the last, and not where the next one goes on from latents."""
    return [done for done in range(FIRST, len(stages)) if not _needs_latents(stages[done])]


def _needs_latents(stage: Stage) -> bool:
    return isinstance(stage, ImageToUpscaler) and is_latent(stage.upscaler)


def _key(output: StageOutput, position: int) -> str:
    return f"{output.folder}/{position}.png"
