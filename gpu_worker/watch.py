"""What a running job tells the world, and hears from it, between two denoising steps.

The engine's thread calls in; everything that leaves goes through the event loop. It decides no outcome.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog
from redis.exceptions import RedisError

from gpu_worker.pictures import jpeg_bytes
from jobs.engine import Picture
from jobs.errors import DarkroomError
from jobs.job import Job, Preview, Progress
from jobs.storage.progress_board import PreviewBytes, ProgressBoard

# Previews may cost this share of a job's time; the first one comes when this share of the steps is done.
PREVIEW_SHARE = 0.08
FIRST_PREVIEW_AT = 0.2
# No one reads faster, and each message takes time from the denoising.
PUBLISH_EVERY_S = 0.1
AFTER_ERROR_S = 2

log = structlog.get_logger()


@dataclass(slots=True)
class PreviewBudget:
    """Spends a fixed share of the time that has passed since it was made."""

    clock: Callable[[], float] = time.perf_counter
    started: float = field(init=False)
    spent_s: float = 0.0
    count: int = 0

    def __post_init__(self) -> None:
        self.started = self.clock()

    def allows(self, fraction: float) -> bool:
        if self.count == 0:
            return fraction >= FIRST_PREVIEW_AT
        # What one has cost on average is what the next will cost.
        next_cost_s = self.spent_s / self.count
        return self.spent_s + next_cost_s <= PREVIEW_SHARE * (self.clock() - self.started)

    def render(self, preview: Callable[[], Sequence[Picture]]) -> list[PreviewBytes]:
        began = self.clock()
        self.count += 1
        rendered = [_encoded(picture, index, self.count) for index, picture in enumerate(preview())]
        self.spent_s += self.clock() - began
        return rendered


def _encoded(picture: Picture, index: int, number: int) -> PreviewBytes:
    size = {"width": picture.width, "height": picture.height}
    return PreviewBytes(Preview(index=index, number=number, format="jpeg", **size), jpeg_bytes(picture))


class JobWatch:
    """One per attempt. `stop_with` may be called from any thread; the engine stops before its next step."""

    def __init__(self, job: Job, board: ProgressBoard) -> None:
        self.job = job
        self._board = board
        self._budget = PreviewBudget()
        self._work = [stage.work for stage in job.submission.stages]
        self._stage = 0
        self._previews: tuple[Preview, ...] = ()
        self._reason: DarkroomError | None = None
        self.notes: list[str] = []
        self._loop = asyncio.get_running_loop()
        self._unsent = asyncio.Event()
        self._progress: Progress | None = None
        self._pictures: Sequence[PreviewBytes] = ()

    def begin_stage(self, stage: int) -> None:
        self._stage = stage
        self.check()

    def stop_with(self, reason: DarkroomError) -> None:
        self._reason = reason

    def check(self) -> None:
        """Raises what `stop_with` was given."""
        if self._reason is not None:
            raise self._reason

    def step_done(self, step: int, steps: int, preview: Callable[[], Sequence[Picture]]) -> None:
        self.check()
        fraction = self._fraction(step / steps)
        pictures: Sequence[PreviewBytes] = ()
        # The last step is followed by the real picture.
        if step < steps and self._budget.allows(fraction):
            pictures = self._budget.render(preview)
            self._previews = tuple(each.preview for each in pictures)
        progress = Progress(
            attempt=self.job.attempt,
            fraction=fraction,
            stage=self._stage,
            step=step,
            steps=steps,
            previews=self._previews,
        )
        self._loop.call_soon_threadsafe(self._put, progress, pictures)

    def note(self, text: str) -> None:
        self.notes.append(text)

    async def publish_for_ever(self) -> None:
        """Sends the newest state to the board; what a slow Redis misses is skipped, never queued up."""
        while True:
            await self._unsent.wait()
            self._unsent.clear()
            try:
                await self._publish()
            except (RedisError, OSError) as error:
                log.warning("progress_not_published", error=repr(error))
                await asyncio.sleep(AFTER_ERROR_S)
            except Exception:
                log.exception("progress_broke")
                await asyncio.sleep(AFTER_ERROR_S)
            await asyncio.sleep(PUBLISH_EVERY_S)

    def _fraction(self, of_stage: float) -> float:
        done = sum(self._work[: self._stage]) + self._work[self._stage] * of_stage
        return round(done / max(sum(self._work), 1), 4)

    def _put(self, progress: Progress, pictures: Sequence[PreviewBytes]) -> None:
        self._progress = progress
        self._pictures = pictures or self._pictures
        self._unsent.set()

    async def _publish(self) -> None:
        progress, pictures, self._pictures = self._progress, self._pictures, ()
        # Pictures first: the progress that is seen names only previews that are there.
        for each in pictures:
            await self._board.put_preview(self.job.id, self.job.attempt, each)
        if progress is not None:
            await self._board.publish(self.job.id, progress)
