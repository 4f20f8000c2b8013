"""Progress: throttled, never backwards, and deaf to no one who wants the job to stop."""

import asyncio

import pytest
from PIL import Image

import gpu_worker.watch
from gpu_worker.watch import FIRST_PREVIEW_AT, JobWatch, PreviewBudget
from jobs.errors import WorkerStopping
from jobs.job import Job, Progress
from jobs.storage.background import beside
from tests import one_job
from tests.gpu_worker.conftest import LEASE, STEPS, Bench
from tests.until import until


def picture() -> list[Image.Image]:
    return [Image.new("RGB", (64, 48), "red")]


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_first_preview_comes_early_and_later_ones_as_the_budget_grows() -> None:
    clock = Clock()
    budget = PreviewBudget(clock)

    assert not budget.allows(FIRST_PREVIEW_AT / 2)
    assert budget.allows(FIRST_PREVIEW_AT)
    _render_for(budget, clock, seconds=1.0)
    assert not budget.allows(0.5)
    clock.now = 100.0
    assert budget.allows(0.5)


def test_each_preview_has_a_number_of_its_own() -> None:
    clock = Clock()
    budget = PreviewBudget(clock)

    first, second = budget.render(picture), budget.render(picture)

    assert [(each.preview.number, each.preview.index) for each in (*first, *second)] == [(1, 0), (2, 0)]
    assert (first[0].preview.width, first[0].preview.height) == (64, 48)


async def test_what_is_published_is_the_newest_and_ends_with_the_last_step(bench: Bench) -> None:
    job = await _running_job(bench)
    watch = JobWatch(job, bench.board)
    publishing = asyncio.create_task(watch.publish_for_ever())

    watch.begin_stage(1)
    for step in range(1, STEPS + 1):
        watch.step_done(step, STEPS, picture)
    progress = await _progress(bench, job)
    publishing.cancel()

    assert (progress.step, progress.fraction, progress.stage) == (STEPS, 1.0, 1)
    assert await bench.board.preview(f"{job.id}-1-0-1") is not None


async def test_what_could_not_be_published_is_published_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await _running_job(bench)
    watch, publish, tries = JobWatch(job, bench.board), bench.board.publish, list[int]()

    async def breaking(job_id: int, progress: Progress) -> None:
        tries.append(job_id)
        if len(tries) == 1:
            raise ValueError("no reason that anybody thought of")
        await publish(job_id, progress)

    monkeypatch.setattr(gpu_worker.watch, "AFTER_ERROR_S", 0)
    monkeypatch.setattr(bench.board, "publish", breaking)
    async with beside(watch.publish_for_ever()):
        watch.begin_stage(1)
        watch.step_done(1, STEPS, picture)
        await until(lambda: asyncio.sleep(0, len(tries) == 1))
        watch.step_done(STEPS, STEPS, picture)

        assert (await _progress(bench, job)).step == STEPS


async def test_the_job_stops_at_the_next_step_after_it_was_told_to(bench: Bench) -> None:
    watch = JobWatch(await _running_job(bench), bench.board)

    watch.stop_with(WorkerStopping())

    with pytest.raises(WorkerStopping):
        watch.step_done(1, STEPS, picture)


def _render_for(budget: PreviewBudget, clock: Clock, *, seconds: float) -> None:
    def slow() -> list[Image.Image]:
        clock.now += seconds
        return picture()

    budget.render(slow)


async def _running_job(bench: Bench) -> Job:
    job = await one_job.claim(bench.jobs, await bench.accept(), 1, worker="test:1", lease=LEASE)
    assert job is not None
    return job


async def _progress(bench: Bench, job: Job) -> Progress:
    async with asyncio.timeout(5):
        while True:
            (progress,) = await bench.board.get([(job.id, job.attempt)])
            if progress is not None and progress.step == STEPS:
                return progress
            await asyncio.sleep(0.01)
