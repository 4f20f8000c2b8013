"""One attempt at one job, from claim to outcome. It does not choose jobs, and makes no pixel itself.

Every way out begins here: success, failure, another try, handed back, or lost: canceled, or taken by another attempt.
"""

import asyncio
import statistics
from collections import deque
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import perf_counter
from uuid import UUID, uuid4

import structlog
from redis.exceptions import RedisError
from structlog.contextvars import bound_contextvars

from gpu_worker.awake import awake_for, awake_timeout
from gpu_worker.endings import Endings
from gpu_worker.engine_thread import EngineThread
from gpu_worker.heart.keeper import LeaseKeeper
from gpu_worker.outcomes import Outcomes
from gpu_worker.patience import patiently
from gpu_worker.pictures import open_picture, png_bytes
from gpu_worker.presence import Presence
from gpu_worker.stage_outputs import StageOutputs, parts
from gpu_worker.stores import Stores
from gpu_worker.watch import JobWatch
from jobs.ability import Ability
from jobs.capabilities import RunnableStage, runnable
from jobs.cost import work_of
from jobs.engine import Engine, Picture
from jobs.errors import (
    AttemptLost,
    FatalFailure,
    HandedBack,
    NotFound,
    OutOfReach,
    StageFailed,
    TransitoryFailure,
    Unavailable,
    WorkerStopping,
)
from jobs.job import FailureCode, Image, Job
from jobs.need import need_of, read_need
from jobs.stages import Stage
from jobs.stages.canvas import Canvas, Tools
from jobs.storage.background import beside
from jobs.storage.files import output_folder
from jobs.storage.job_queue import Attempt
from jobs.storage.job_store import Success

QUEUE_WITHIN_S = 2
# What loading a model takes, until one was loaded.
LOADING_S = 2.0
# Jobs whose pictures are being stored while the engine draws the next, besides those that are short: with more of them
# it waits for the store.
STORING_AT_ONCE = 1
# The median of so many runs tells how much of the foretold time jobs need, and so how many are short enough to be run
# together.
LAST_SHARES = 16
LEAST_SHARE = 1e-6

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerOptions:
    """`worker` names this process in events; it serves the line of `pool`, as far as its `ability` goes. `retry_delay`
    doubles with each attempt. An engine that does not stop within `hung_after`, when its attempt has had its time,
    hangs. `drawn_by` names the models and the code that draw, and `stage_outputs_kept` how long what they made is of
    use again. `outputs_kept` is counted from the job's end; None is for ever."""

    worker: str
    pool: str
    ability: Ability
    lease: timedelta
    retry_delay: timedelta
    max_attempts: int
    attempt_within: timedelta
    hung_after: timedelta
    drawn_by: str
    stage_outputs_kept: timedelta = timedelta(hours=1)
    outputs_kept: timedelta | None = None


class Runner:
    def __init__(self, options: RunnerOptions, *, engine: Engine, keeper: LeaseKeeper, stores: Stores) -> None:
        self._options = options
        self._engine = engine
        self._keeper = keeper
        self._jobs = stores.jobs
        self._resources = stores.resources
        self._queue = stores.queue
        self._cancels = stores.cancels
        self._board = stores.board
        self._files = stores.files
        self._stage_outputs = StageOutputs(
            stores.stages, stores.files, drawn_by=options.drawn_by, kept=options.stage_outputs_kept
        )
        self.presence = Presence(stores.outlook, options.worker, options.pool, options.ability)
        self._engine_thread = EngineThread()
        self._outcomes = Outcomes(stores.jobs)
        self._endings = Endings(
            stores.jobs,
            stores.queue,
            pool=options.pool,
            max_attempts=options.max_attempts,
            retry_delay=options.retry_delay,
        )
        # What was foretold when they were accepted may be much too long, such as for the first jobs of a kind.
        self._shares = deque([1.0], maxlen=LAST_SHARES)
        self._watches: set[JobWatch] = set()
        self._attempts: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        self.is_hung = asyncio.Event()

    async def warm_up(self, model_id: str) -> None:
        """Loads this model, so that the first job does not wait for it."""
        within_s = self._options.attempt_within.total_seconds()
        try:
            async with awake_timeout(within_s):
                await self._engine_thread.run(self._engine.load, model_id)
        except StageFailed as error:
            log.error("model_not_loaded", model=model_id, error=error.message)  # jobs that name another can still run
        except TimeoutError:
            log.error("engine_hung", model=model_id, seconds=within_s)
            self.is_hung.set()
        except Exception:
            log.exception("model_not_loaded", model=model_id)

    async def pick(self) -> Sequence[Attempt]:
        """What to run next: one attempt, or several that are short. None while an operator has paused this worker."""
        loading_s = self._engine.loading_s()
        measured = [seconds for seconds in loading_s.values() if seconds]
        otherwise_s = statistics.mean(measured) if measured else LOADING_S
        share = statistics.median(self._shares)
        picked = await self._queue.pick(self._options.worker, self._options.pool, loading_s, otherwise_s, share=share)
        self.presence.rest(picked is None)
        return picked or ()

    async def run(self, *attempts: Attempt) -> None:
        """Returns when the engine is free for another job, while the pictures of the last are still being stored.

        Stores outcomes; where it cannot, the lease lapses and another worker takes the job.
        """
        jobs = await self._claimed([attempt for attempt in attempts if attempt not in self._at_work()])
        # The engine does not wait for the queue to be told.
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leave_queue(attempts, jobs))
            if jobs:
                await self._draw(jobs)

    async def _claimed(self, attempts: Sequence[Attempt]) -> Sequence[Job]:
        """A claim whose answer was lost is repeated, and gives the same."""
        if not attempts:
            return ()
        claim = partial(self._jobs.claim_all, attempts, worker=self._options.worker, lease=self._options.lease)
        return await patiently(claim)

    def _at_work(self) -> set[Attempt]:
        """The line may give what it could not be told of: Redis was away when it was claimed."""
        return {(watch.job.id, watch.job.attempt) for watch in self._watches}

    async def _draw(self, jobs: Sequence[Job]) -> None:
        began, cost_s = perf_counter(), sum(job.cost_s for job in jobs)
        self.presence.begin(cost_s)
        # Not awaited themselves: where this is canceled they are not, and the bounds of attempts stay.
        await asyncio.wait([self._begin(job) for job in jobs])
        self.presence.end()
        self._shares.append(min(max((perf_counter() - began) / max(cost_s, LEAST_SHARE), LEAST_SHARE), 1.0))
        while len(self._attempts) > max(STORING_AT_ONCE, len(jobs)):
            await asyncio.wait(self._attempts, return_when=asyncio.FIRST_COMPLETED)

    def _begin(self, job: Job) -> asyncio.Future[None]:
        """Is done when the engine is through with it."""
        drawn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        attempting = asyncio.create_task(self._attempt(job, drawn))
        self._attempts.add(attempting)
        attempting.add_done_callback(self._attempts.discard)
        attempting.add_done_callback(lambda _: _set(drawn))
        return drawn

    async def settled(self) -> None:
        """Every attempt has had its outcome."""
        if self._attempts:
            await asyncio.wait(self._attempts)

    def hand_back(self) -> None:
        """Stops the attempt at hand before its next step, and any later one; its job goes to the front of the line."""
        self._is_stopping = True
        for watch in self._watches:
            watch.stop_with(WorkerStopping())

    async def abandon(self) -> None:
        """Hands back what the engine has not let go of: this process is about to end, and the engine with it."""
        for watch in list(self._watches):
            log.warning("job_abandoned", job_id=watch.job.id)
            await self._endings.give_back(watch.job, WorkerStopping())

    async def _attempt(self, job: Job, drawn: asyncio.Future[None]) -> None:
        watch, started = JobWatch(job, self._board), perf_counter()
        with bound_contextvars(job_id=job.id, attempt=job.attempt):
            try:
                async with self._watched(job, watch, drawn):
                    outcome = await self._outcome(job, watch, drawn)
                log.info("attempt_ended", outcome=outcome, seconds=round(perf_counter() - started, 3))
            except Exception:
                log.exception("outcome_not_stored")

    async def _outcome(self, job: Job, watch: JobWatch, drawn: asyncio.Future[None]) -> str:
        try:
            await self._make_pictures(job, watch, drawn)
            return "SUCCESS"
        except AttemptLost:
            return "LOST"
        except HandedBack as reason:
            return await self._endings.give_back(job, reason)
        except FatalFailure as error:
            return await self._endings.fail(job, FailureCode.FATAL_ERROR, error.message)
        except (TransitoryFailure, Unavailable) as error:
            return await self._endings.try_again(job, error.message)
        except Exception as error:
            log.exception("attempt_broke")
            # What it says may name files, addresses, or statements: that is the operator's, in the log.
            return await self._endings.try_again(job, f"the worker broke unexpectedly ({type(error).__name__})")

    async def _make_pictures(self, job: Job, watch: JobWatch, drawn: asyncio.Future[None]) -> None:
        # A job of an older release does not say what it needs.
        need = read_need(job.need) if job.need else need_of(job.submission.stages)
        if lacks := self._options.ability.lacks(need):
            raise OutOfReach(lacks)
        inputs = await self._inputs(job)
        canvas = await self._run_stages(job, watch, inputs)
        _set(drawn)
        watch.check()
        images = await self._store(job, canvas)
        success = Success(job, images, "; ".join(watch.notes) or None)
        await patiently(partial(self._outcomes.store, success))

    async def _run_stages(self, job: Job, watch: JobWatch, inputs: Mapping[str, Picture]) -> Canvas:
        stages, tools = runnable(job.submission), Tools(engine=self._engine, watch=watch, pictures=inputs)
        done, canvas, notes = await self._stage_outputs.resume(job)
        watch.notes += notes
        seconds, loaded = 0.0, self._loaded()
        for part in parts(stages, done):
            canvas, took_s = await self._engine_thread.run(_run_part, part, stages, canvas, tools, watch)
            seconds += took_s
            await self._stage_outputs.keep(job, part.stop, canvas, watch.notes)
        # Forecasts are of jobs as most are: what was loaded for this one is there for the next.
        if not done and self._loaded() <= loaded:
            self.presence.drew(job.kind, seconds / work_of(job.submission.stages).nominal_s)
        return canvas

    def _loaded(self) -> set[str]:
        return {model for model, seconds in self._engine.loading_s().items() if not seconds}

    async def _inputs(self, job: Job) -> dict[str, Picture]:
        stages = enumerate(job.submission.stages)
        named_by = {name: _path(position, stage) for position, stage in stages for name in stage.inputs}
        return {name: await self._input(job, name, path) for name, path in named_by.items()}

    async def _input(self, job: Job, name: str, path: str) -> Picture:
        try:
            image = await patiently(partial(self._resources.get_input, job.account_id, UUID(name)))
            content = await patiently(partial(self._files.get, image.key))
            return await asyncio.to_thread(open_picture, content)
        except (NotFound, FatalFailure) as error:
            raise FatalFailure(f"{path}: input picture {name}: {error.message}") from error

    @asynccontextmanager
    async def _watched(self, job: Job, watch: JobWatch, drawn: asyncio.Future[None]) -> AsyncIterator[None]:
        self._watches.add(watch)
        if self._is_stopping:
            watch.stop_with(WorkerStopping())
        cancel = partial(watch.stop_with, AttemptLost("The job was canceled."))
        try:
            with self._cancels.when_canceled(job.id, job.attempt, cancel):
                async with beside(self._keep_lease(job, watch, drawn), watch.publish_for_ever()):
                    # Two turns of the loop, so that the heart knows: what the engine begins may hold Python's lock.
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                    yield
        finally:
            self._watches.discard(watch)

    async def _keep_lease(self, job: Job, watch: JobWatch, drawn: asyncio.Future[None]) -> None:
        """Until all is stored, or drawing has had its time: then the engine is asked to stop, and the lease lapses if
        it does not."""
        longest_s = self._options.attempt_within.total_seconds()
        within_s = min(longest_s, job.submission.attempt_within_s or longest_s)
        try:
            async with awake_timeout(within_s) as bound:
                # What follows drawing has deadlines of its own.
                drawn.add_done_callback(lambda _: bound.cancel())
                await self._keeper.keep(job.id, job.attempt)
        except AttemptLost as error:
            watch.stop_with(error)
        except TimeoutError:
            watch.stop_with(TransitoryFailure(f"the attempt took longer than {within_s:g} s"))
            # An account's bound may be shorter than one call of an engine that is in order.
            await self._notice_a_hang(longest_s - within_s)

    async def _notice_a_hang(self, after_s: float) -> None:
        await awake_for(after_s + self._options.hung_after.total_seconds())
        log.error("engine_hung")
        self.is_hung.set()

    async def _store(self, job: Job, canvas: Canvas) -> list[Image]:
        images, kept = [], self._options.outputs_kept
        for position, picture in enumerate(canvas.pictures):
            key = f"{output_folder(job.id, job.attempt)}/{position}.png"
            content = await asyncio.to_thread(png_bytes, picture)
            await patiently(partial(self._files.put, key, content))
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

    async def _leave_queue(self, attempts: Iterable[Attempt], jobs: Sequence[Job]) -> None:
        started = [(job.id, job.attempt) for job in jobs]
        passed = [attempt for attempt in attempts if attempt not in started]
        try:
            async with asyncio.timeout(QUEUE_WITHIN_S):
                if started:
                    await self._queue.start(*started)
                if passed:
                    await self._queue.remove(*passed)
        except (RedisError, OSError) as error:
            log.warning("queue_not_told", attempts=list(attempts), error=repr(error))


def _set(drawn: asyncio.Future[None]) -> None:
    if not drawn.done():
        drawn.set_result(None)


def _run_part(
    part: range, stages: Sequence[RunnableStage], canvas: Canvas, tools: Tools, watch: JobWatch
) -> tuple[Canvas, float]:
    """What it made, and the seconds that it took."""
    began = perf_counter()
    for position in part:
        watch.begin_stage(position)
        canvas = _run_stage(position, stages[position], canvas, tools)
    return canvas, perf_counter() - began


def _run_stage(position: int, stage: RunnableStage, canvas: Canvas, tools: Tools) -> Canvas:
    try:
        return stage.run(canvas, tools)
    except FatalFailure as error:
        raise FatalFailure(f"{_path(position, stage)}: {error.message}") from error


def _path(position: int, stage: Stage) -> str:
    """As the API spells it: of all that goes wrong the account learns in which stage."""
    return f"stages[{position}].{stage.field_name}"
