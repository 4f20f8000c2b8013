"""One attempt at one job, from claim to outcome. It does not choose jobs, and makes no pixel itself.

Every way out is here: success, failure, another try, handed back, or lost: canceled, or taken by another attempt.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from typing import TypeVar
from uuid import UUID, uuid4

import structlog
from redis.exceptions import RedisError
from structlog.contextvars import bound_contextvars

from gpu_worker.pictures import open_picture, png_bytes
from gpu_worker.presence import Presence
from gpu_worker.watch import JobWatch
from jobs.capabilities import runnable
from jobs.cost import work_of
from jobs.engine import Engine, Picture
from jobs.errors import AttemptLost, FatalFailure, NotFound, StageFailed, TransitoryFailure, Unavailable, WorkerStopping
from jobs.job import Failure, FailureCode, Image, Job
from jobs.stages.canvas import Canvas, Tools
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.files import Files, output_folder
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, Waiting
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.resource_store import ResourceStore

RENEWALS_PER_LEASE = 3
QUEUE_WITHIN_S = 2
# Two minutes in all.
PAUSES_S = (0.2, 0.5, 1.0, *(2.0,) * 60)

T = TypeVar("T")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """`worker` names this process in events. `retry_delay` doubles with each attempt. `outputs_kept`
    is counted from the job's end; None is for ever."""

    worker: str
    lease: timedelta
    retry_delay: timedelta
    max_attempts: int
    attempt_within: timedelta
    outputs_kept: timedelta | None = None


class Runner:
    def __init__(
        self,
        options: RunnerOptions,
        *,
        engine: Engine,
        jobs: JobStore,
        resources: ResourceStore,
        queue: JobQueue,
        board: ProgressBoard,
        files: Files,
        presence: Presence,
        outlook: OutlookBoard,
    ) -> None:
        self._options = options
        self._engine = engine
        self._jobs = jobs
        self._resources = resources
        self._queue = queue
        self._board = board
        self._files = files
        self._presence = presence
        self._outlook = outlook
        # The engine is used from this one thread only. A second thread that computes, even once and before, gives
        # OpenMP a second team; on as many cores as threads it then stops spinning, and every step takes twice as long.
        self._engine_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._watch: JobWatch | None = None
        self._is_stopping = False

    async def warm_up(self, model_id: str) -> None:
        """Loads this model, so that the first job does not wait for it."""
        try:
            await self._on_engine_thread(self._engine.load, model_id)
        except StageFailed as error:
            log.error("model_not_loaded", model=model_id, error=error.message)  # jobs that name another can still run

    async def run(self, job_id: int, attempt: int) -> None:
        """Stores an outcome; where it cannot, the lease lapses and another worker takes the job."""
        claim = partial(self._jobs.claim, job_id, attempt, worker=self._options.worker, lease=self._options.lease)
        job = await self._patiently(claim)
        if job is None:
            await self._leave_queue(self._queue.remove, job_id, attempt)
            return
        with bound_contextvars(job_id=job.id, attempt=job.attempt):
            started = perf_counter()
            self._presence.begin(job.cost_s)
            outcome = await self._attempt(job)
            self._presence.end()
            seconds = perf_counter() - started
            if outcome == "SUCCESS":
                await self._note_duration(job, seconds)
            log.info("attempt_ended", outcome=outcome, seconds=round(seconds, 3))

    def hand_back(self) -> None:
        """Stops the attempt at hand before its next step, and any later one; its job goes to the front of the line."""
        self._is_stopping = True
        if self._watch is not None:
            self._watch.stop_with(WorkerStopping())

    async def _attempt(self, job: Job) -> str:
        watch = JobWatch(job, self._board)
        async with self._watched(job, watch):
            await self._leave_queue(self._queue.start, job.id, job.attempt)
            return await self._outcome(job, watch)

    async def _outcome(self, job: Job, watch: JobWatch) -> str:
        try:
            await self._make_pictures(job, watch)
            return "SUCCESS"
        except AttemptLost:
            return "LOST"
        except WorkerStopping:
            return await self._give_back(job)
        except FatalFailure as error:
            return await self._fail(job, FailureCode.FATAL_ERROR, error.message)
        except (TransitoryFailure, Unavailable) as error:
            return await self._try_again(job, error.message)
        except Exception as error:
            log.exception("attempt_broke")
            return await self._try_again(job, f"{type(error).__name__}: {error}")

    async def _make_pictures(self, job: Job, watch: JobWatch) -> None:
        inputs = await self._inputs(job)
        canvas = await self._on_engine_thread(_run_stages, job, self._engine, watch, inputs)
        watch.check()
        images = await self._store(job, canvas)
        await self._patiently(partial(self._jobs.succeed, job, images, note="; ".join(watch.notes) or None))

    async def _on_engine_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._engine_thread, function, *arguments)

    async def _inputs(self, job: Job) -> dict[str, Picture]:
        names = [name for stage in job.submission.stages for name in stage.inputs]
        return {name: await self._input(job, name) for name in names}

    async def _input(self, job: Job, name: str) -> Picture:
        try:
            image = await self._patiently(partial(self._resources.get_input, job.account_id, UUID(name)))
            content = await self._patiently(partial(self._files.get, image.key))
            return await asyncio.to_thread(open_picture, content)
        except NotFound as error:
            raise FatalFailure(f"input picture {name}: {error.message}") from error

    @asynccontextmanager
    async def _watched(self, job: Job, watch: JobWatch) -> AsyncIterator[None]:
        self._watch = watch
        if self._is_stopping:
            watch.stop_with(WorkerStopping())
        works = (self._keep_lease(job, watch), self._hear_of_cancel(job, watch), watch.publish_for_ever())
        beside = [asyncio.create_task(work) for work in works]
        try:
            yield
        finally:
            self._watch = None
            for task in beside:
                task.cancel()

    async def _keep_lease(self, job: Job, watch: JobWatch) -> None:
        """Until the attempt has had its time: then the engine is asked to stop, and should it not, the lease lapses."""
        deadline = perf_counter() + self._options.attempt_within.total_seconds()
        while perf_counter() < deadline:
            await asyncio.sleep(self._options.lease.total_seconds() / RENEWALS_PER_LEASE)
            try:
                await self._jobs.renew_lease(job.id, job.attempt, self._options.lease)
            except AttemptLost as error:
                watch.stop_with(error)
            except Exception as error:
                # Not renewed is not yet lost. If it stays so the lease lapses, and the fence refuses our result.
                log.warning("lease_not_renewed", error=repr(error))
        watch.stop_with(TransitoryFailure(f"the attempt took longer than {self._options.attempt_within}"))

    async def _hear_of_cancel(self, job: Job, watch: JobWatch) -> None:
        try:
            await self._queue.canceled(job.id, job.attempt)
            watch.stop_with(AttemptLost("The job was canceled."))
        except (RedisError, OSError) as error:
            # The next renewal of the lease is refused then, and says the same.
            log.warning("cancel_not_heard", error=repr(error))

    async def _store(self, job: Job, canvas: Canvas) -> list[Image]:
        images, kept = [], self._options.outputs_kept
        for position, picture in enumerate(canvas.pictures):
            key = f"{output_folder(job.id, job.attempt)}/{position}.png"
            content = await asyncio.to_thread(png_bytes, picture)
            await self._patiently(partial(self._files.put, key, content))
            images.append(
                Image(
                    id=uuid4(),
                    key=key,
                    format="png",
                    width=picture.width,
                    height=picture.height,
                    expires_at=datetime.now(UTC) + kept if kept else None,
                )
            )
        return images

    async def _leave_queue(self, leave: Callable[[int, int], Awaitable[None]], job_id: int, attempt: int) -> None:
        try:
            async with asyncio.timeout(QUEUE_WITHIN_S):
                await leave(job_id, attempt)
        except (RedisError, OSError) as error:
            log.warning("queue_not_told", job_id=job_id, error=repr(error))

    async def _note_duration(self, job: Job, seconds: float) -> None:
        try:
            async with asyncio.timeout(QUEUE_WITHIN_S):
                await self._outlook.measured(job.kind, seconds / work_of(job.submission.stages).nominal_s)
        except (RedisError, OSError) as error:
            log.warning("duration_not_noted", error=repr(error))

    async def _patiently(self, statement: Callable[[], Awaitable[T]]) -> T:
        """Repeats it while a store is away: giving up would waste what was drawn, or empty the queue for nothing.

        Safe to repeat, because the attempt fences it. Raises what it raised last when the patience is over.
        """
        for pause_s in PAUSES_S:
            try:
                return await statement()
            except (*DATABASE_AWAY, Unavailable) as error:
                log.warning("store_away", error=repr(error), next_s=pause_s)
                await asyncio.sleep(pause_s)
        return await statement()

    async def _fail(self, job: Job, code: FailureCode, reason: str) -> str:
        try:
            failure = Failure(code=code, reason=reason)
            await self._patiently(partial(self._jobs.fail, job.id, job.attempt, failure))
        except AttemptLost:
            return "LOST"
        return "FAILED"

    async def _try_again(self, job: Job, reason: str) -> str:
        if job.attempt >= self._options.max_attempts:
            return await self._fail(job, FailureCode.TRANSITORY_ERROR, f"{reason} (after {job.attempt} attempts)")
        delay = self._options.retry_delay * 2 ** (job.attempt - 1)
        return await self._requeue(job, delay, reason)

    async def _give_back(self, job: Job) -> str:
        outcome = await self._requeue(job, timedelta(0), "the worker was stopped")
        if outcome != "REQUEUED":
            return outcome
        try:
            await self._queue.add([Waiting(job.id, job.attempt + 1, job.cost_s, turn=None)])
        except (RedisError, OSError) as error:
            log.warning("queue_not_told", job_id=job.id, error=repr(error))  # the sweeper tells it
        return outcome

    async def _requeue(self, job: Job, delay: timedelta, reason: str) -> str:
        try:
            requeue = partial(self._jobs.requeue, job.id, job.attempt, delay=delay, reason=reason)
            await self._patiently(requeue)
        except AttemptLost:
            return "LOST"
        return "REQUEUED"


def _run_stages(job: Job, engine: Engine, watch: JobWatch, inputs: Mapping[str, Picture]) -> Canvas:
    tools, canvas = Tools(engine=engine, watch=watch, pictures=inputs), Canvas()
    for position, stage in enumerate(runnable(job.submission)):
        watch.begin_stage(position)
        canvas = stage.run(canvas, tools)
    return canvas
