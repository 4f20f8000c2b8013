"""One attempt: every way out of it."""

import asyncio
import io
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from PIL import Image as PillowImage

from gpu_worker import patience
from gpu_worker.runner import Runner
from jobs.errors import FatalFailure, TransitoryFailure, Unavailable
from jobs.job import Failure, FailureCode, JobStatus, QueuePlace
from jobs.pool import NOBODY
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.video_diffusion import VideoDiffusion
from jobs.storage.job_store import Success, Waiting
from jobs.turn import Turn
from tests import one_job
from tests.gpu_worker.conftest import LEASE, STEPS, Bench
from tests.gpu_worker.scripted_engine import ScriptedEngine, pause_at, raising
from tests.pools import POOL
from tests.until import until


async def test_a_job_that_is_drawn_has_its_pictures_its_events_and_its_callback(bench: Bench) -> None:
    job_id = await bench.accept(count=2)

    await bench.runner(ScriptedEngine()).run((job_id, 1))

    job = await bench.job(job_id)
    assert job.status == JobStatus.SUCCESS
    assert [(image.width, image.height, image.format) for image in job.images] == [(512, 576, "png")] * 2
    pictures = [PillowImage.open(io.BytesIO(await bench.files.get(image.key))) for image in job.images]
    assert [picture.getpixel((0, 0)) for picture in pictures] == [(5, 5, 5), (6, 6, 6)]
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "SUCCESS"]
    assert await bench.callbacks(job_id) == ["TERMINAL"]
    assert await bench.queue.places([(job_id, 1)]) == [None]


async def test_what_a_stage_did_not_find_is_told_with_the_success(bench: Bench) -> None:
    drawn = Diffusion(width=512, height=512, prompt=(), model="101", sampler="Euler", steps=STEPS)
    job_id = await bench.accept(ImageToAdetailer(details=(Detail(),), diffusion=drawn), count=2)

    await bench.runner(ScriptedEngine()).run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.SUCCESS
    assert (await bench.job(job_id)).failure is None
    assert await bench.last_event(job_id) == (
        "SUCCESS",
        "imageToAdetailer.args[0] found nothing in picture 1; imageToAdetailer.args[0] found nothing in picture 2",
    )


@pytest.mark.parametrize("kept", [None, timedelta(days=3)])
async def test_outputs_are_kept_as_long_as_the_operator_says(bench: Bench, kept: timedelta | None) -> None:
    bench.outputs_kept = kept
    job_id = await bench.accept()

    await bench.runner(ScriptedEngine()).run((job_id, 1))

    (image,) = (await bench.job(job_id)).images
    assert (image.expires_at is None) == (kept is None)
    if kept and image.expires_at:
        assert abs(image.expires_at - datetime.now(UTC) - kept) < timedelta(minutes=5)


async def test_an_input_that_has_expired_since_the_job_was_accepted_is_still_drawn_from(bench: Bench) -> None:
    first = await bench.accept()
    await bench.runner(ScriptedEngine()).run((first, 1))
    (image,) = (await bench.job(first)).images
    job_id = await bench.accept(image=str(image.id))
    await bench.execute("UPDATE resources SET expires_at = now() - interval '1 second'")

    await bench.runner(ScriptedEngine()).run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.SUCCESS


async def test_what_was_never_loaded_is_put_off_like_the_mean_of_what_was(bench: Bench) -> None:
    runner = bench.runner(ScriptedEngine(loaded={"here": 0.0, "gone": 2.0, "also gone": 4.0}))
    for job_id, model in enumerate(("unknown", "gone", "also gone", "here"), start=1):
        await bench.queue.add([Waiting(job_id, 1, 1.0, Turn(job_id, 1.0), f"{model}|", POOL)])

    assert [await runner.pick() for _ in range(5)] == [[(4, 1)], [(2, 1)], [(1, 1)], [(3, 1)], ()]


async def test_a_second_signal_for_the_same_attempt_changes_nothing(bench: Bench) -> None:
    job_id = await bench.accept()
    engine = ScriptedEngine()
    runner = bench.runner(engine)

    await runner.run((job_id, 1))
    await runner.run((job_id, 1))

    assert engine.steps_done == list(range(1, STEPS + 1))
    assert await bench.callbacks(job_id) == ["TERMINAL"]


async def test_a_job_whose_account_runs_as_many_as_it_may_is_not_drawn_and_no_attempt_is_counted(
    bench: Bench,
) -> None:
    job_id = await bench.accept()
    await bench.execute("UPDATE accounts SET max_running = 0")
    engine = ScriptedEngine()

    await bench.runner(engine).run((job_id, 1))

    job = await bench.job(job_id)
    assert (job.status, job.attempt, engine.steps_done) == (JobStatus.WAITING, 0, [])
    assert await bench.queue.places([(job_id, 1)]) == [None]
    await bench.execute("UPDATE accounts SET max_running = 1")
    await bench.jobs.unpark(parked_for=timedelta(0))
    await bench.runner(engine).run((job_id, 1))
    assert (await bench.job(job_id)).status == JobStatus.SUCCESS


async def test_a_fatal_failure_ends_the_job_with_its_reason(bench: Bench) -> None:
    job_id = await bench.accept()

    await bench.runner(ScriptedEngine(raising(FatalFailure("the weights are torn")))).run((job_id, 1))

    job = await bench.job(job_id)
    assert job.status == JobStatus.FAILED and job.failure is not None
    assert (job.failure.code, job.failure.reason) == (
        FailureCode.FATAL_ERROR,
        "stages[1].diffusion: the weights are torn",
    )
    assert await bench.callbacks(job_id) == ["TERMINAL"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (TransitoryFailure("out of memory"), "out of memory (after 2 attempts)"),
        (RuntimeError("/a/path, a password\0"), "the worker broke unexpectedly (RuntimeError) (after 2 attempts)"),
    ],
)
async def test_a_passing_failure_waits_for_its_delay_and_fails_when_attempts_are_used_up(
    bench: Bench, error: Exception, told: str
) -> None:
    job_id = await bench.accept()
    runner = bench.runner(ScriptedEngine(raising(error)))

    await runner.run((job_id, 1))
    after_first, due = await bench.job(job_id), await bench.jobs.retried()
    await bench.execute("UPDATE jobs SET available_at = now()")
    due_later = await bench.jobs.retried()
    await runner.run((job_id, 2))

    assert after_first.status == JobStatus.WAITING
    assert due == [] and [each.attempt for each in due_later] == [2]
    job = await bench.job(job_id)
    assert job.status == JobStatus.FAILED and job.failure is not None
    assert job.failure == Failure(code=FailureCode.TRANSITORY_ERROR, reason=told)


async def test_a_job_that_this_worker_cannot_run_waits_for_one_that_can_and_is_not_charged_a_try(bench: Bench) -> None:
    job_id = await bench.accept(VideoDiffusion(model="109", prompt=()))
    engine = ScriptedEngine()

    await bench.runner(engine).run((job_id, 1))

    assert (await bench.job(job_id)).tries == 0 and engine.steps_done == []
    reason = "The worker that was given it cannot run it: the workers do not run VIDEO_DIFFUSION."
    assert await bench.last_event(job_id) == ("REQUEUED", reason)
    (place,) = await bench.queue.places([(job_id, 2)])
    assert place is not None and place.pool == NOBODY
    # An older release may not have known it.
    assert (await bench.job(job_id)).need == "101 109|INPUT_INITIALIZE DIFFUSION VIDEO_DIFFUSION"


async def test_a_field_that_this_worker_cannot_honour_is_left_to_a_newer_one(bench: Bench) -> None:
    ella = Diffusion(width=512, height=512, prompt=(), model="101", sampler="Euler", ella=True)
    job_id = await bench.accept(ella)
    engine = ScriptedEngine()

    await bench.runner(engine).run((job_id, 1))
    after_first = await bench.job(job_id)
    await bench.execute("UPDATE jobs SET available_at = now()")
    await bench.runner(engine).run((job_id, 2))

    assert after_first.status == JobStatus.WAITING
    assert engine.steps_done == []
    job = await bench.job(job_id)
    assert job.failure is not None
    assert job.failure.code == FailureCode.TRANSITORY_ERROR
    assert "cannot run stages[2].diffusion.enableElla: ELLA is not built yet" in job.failure.reason


async def test_an_input_picture_that_is_gone_is_a_fatal_failure_that_names_it(bench: Bench) -> None:
    absent = str(uuid4())
    job_id = await bench.accept(image=absent)

    await bench.runner(ScriptedEngine()).run((job_id, 1))

    job = await bench.job(job_id)
    assert job.failure is not None
    assert job.failure.code == FailureCode.FATAL_ERROR and absent in job.failure.reason


async def test_the_lease_is_renewed_while_a_step_takes_longer_than_it(bench: Bench) -> None:
    job_id = await bench.accept()
    engine = ScriptedEngine(lambda step: threading.Event().wait(2 * LEASE.total_seconds()) if step == 1 else None)

    running = asyncio.create_task(bench.runner(engine).run((job_id, 1)))
    await asyncio.sleep(1.5 * LEASE.total_seconds())
    taken_back = await bench.jobs.take_back_lapsed(max_attempts=5)
    await running

    assert taken_back == {}
    assert (await bench.job(job_id)).status == JobStatus.SUCCESS


@pytest.mark.parametrize(("operator_s", "account_s"), [(0.1, 60), (60, 0.1)])
async def test_an_attempt_that_takes_too_long_is_stopped_and_tried_again(
    bench: Bench, operator_s: float, account_s: float
) -> None:
    job_id = await bench.accept(attempt_within_s=account_s)
    bench.attempt_within = timedelta(seconds=operator_s)
    engine = ScriptedEngine(lambda step: threading.Event().wait(LEASE.total_seconds()) if step == 1 else None)

    await bench.runner(engine).run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.WAITING
    assert engine.steps_done == []
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "REQUEUED"]


async def test_an_engine_that_does_not_stop_when_its_time_is_over_hangs(bench: Bench) -> None:
    job_id = await bench.accept()
    bench.attempt_within = bench.hung_after = timedelta(seconds=0.1)
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(1, reached, go_on)))

    running = asyncio.create_task(runner.run((job_id, 1)))
    await asyncio.wait_for(runner.is_hung.wait(), 5)
    go_on.set()
    await running


async def test_it_hangs_too_where_nobody_waits_for_its_run_any_more(bench: Bench) -> None:
    job_id = await bench.accept()
    bench.attempt_within = bench.hung_after = timedelta(seconds=0.3)
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(1, reached, go_on)))

    running = asyncio.create_task(runner.run((job_id, 1)))
    await asyncio.to_thread(reached.wait, 10)
    running.cancel()

    await asyncio.wait_for(runner.is_hung.wait(), 5)
    go_on.set()
    await runner.settled()


async def test_an_engine_that_stops_when_it_is_asked_to_does_not_hang(bench: Bench) -> None:
    job_id = await bench.accept()
    bench.attempt_within, bench.hung_after = timedelta(seconds=0.1), timedelta(seconds=0.5)
    runner = bench.runner(ScriptedEngine(lambda _step: threading.Event().wait(0.1)))  # type: ignore[arg-type, return-value]

    await runner.run((job_id, 1))
    await asyncio.sleep(bench.hung_after.total_seconds())

    assert not runner.is_hung.is_set()


async def test_an_account_s_own_bound_does_not_end_a_worker_whose_engine_is_in_order(bench: Bench) -> None:
    job_id = await bench.accept(attempt_within_s=0.05)
    bench.hung_after = timedelta(seconds=0.1)
    runner = bench.runner(ScriptedEngine(lambda step: threading.Event().wait(1) if step == 1 else None))

    await runner.run((job_id, 1))

    assert not runner.is_hung.is_set()
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "REQUEUED"]


async def test_pictures_that_take_long_to_store_are_no_hang_and_the_lease_is_kept(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await bench.accept()
    bench.attempt_within = bench.hung_after = timedelta(seconds=0.3)
    put, runner = bench.files.put, bench.runner(ScriptedEngine())

    async def slow_put(key: str, content: bytes) -> None:
        await asyncio.sleep(2 * LEASE.total_seconds())
        assert await bench.jobs.take_back_lapsed(max_attempts=3) == {}
        await put(key, content)

    monkeypatch.setattr(bench.files, "put", slow_put)
    await runner.run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.SUCCESS
    assert not runner.is_hung.is_set()


async def test_a_model_that_does_not_load_in_time_is_a_hang(bench: Bench) -> None:
    bench.attempt_within, may_go_on = timedelta(seconds=0.1), threading.Event()
    engine = ScriptedEngine()
    engine.load = lambda *_: may_go_on.wait(10)  # type: ignore[assignment, method-assign]
    runner = bench.runner(engine)

    await runner.warm_up("101")

    assert runner.is_hung.is_set()
    may_go_on.set()


async def test_a_worker_that_is_stopping_draws_no_job_that_it_has_just_claimed(bench: Bench) -> None:
    job_id = await bench.accept()
    engine = ScriptedEngine()
    runner = bench.runner(engine)

    runner.hand_back()
    await runner.run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.WAITING
    assert engine.steps_done == []


async def test_a_database_that_is_away_for_a_moment_costs_no_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await bench.accept()
    succeed_all, refusals = bench.jobs.succeed_all, [ConnectionRefusedError(), ConnectionResetError()]

    async def refused_twice(successes: Sequence[Success]) -> set[tuple[int, int]]:
        if refusals:
            raise refusals.pop()
        return await succeed_all(successes)

    monkeypatch.setattr(bench.jobs, "succeed_all", refused_twice)
    await bench.runner(ScriptedEngine()).run((job_id, 1))

    job = await bench.job(job_id)
    assert (job.status, job.attempt, refusals) == (JobStatus.SUCCESS, 1, [])


async def test_a_claim_whose_answer_was_lost_costs_no_attempt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await bench.accept()
    claim_all, losses = bench.jobs.claim_all, [ConnectionResetError()]

    async def lost_once(*attempts: Any, **by: Any) -> Any:
        claimed = await claim_all(*attempts, **by)
        if losses:
            raise losses.pop()
        return claimed

    monkeypatch.setattr(bench.jobs, "claim_all", lost_once)
    await bench.runner(ScriptedEngine()).run((job_id, 1))

    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "SUCCESS"]


async def test_a_store_of_pictures_that_is_away_for_a_moment_costs_no_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await bench.accept()
    put, refusals = bench.files.put, [Unavailable(), Unavailable()]

    async def refused_twice(key: str, content: bytes) -> None:
        if refusals:
            raise refusals.pop()
        await put(key, content)

    monkeypatch.setattr(bench.files, "put", refused_twice)
    await bench.runner(ScriptedEngine()).run((job_id, 1))

    job = await bench.job(job_id)
    assert (job.status, job.attempt, refusals) == (JobStatus.SUCCESS, 1, [])


async def test_a_store_of_pictures_that_stays_away_is_another_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await bench.accept()

    async def refused(_key: str, _content: bytes) -> None:
        raise Unavailable

    monkeypatch.setattr(bench.files, "put", refused)
    monkeypatch.setattr(patience, "PATIENCE_S", 0.1)
    await bench.runner(ScriptedEngine()).run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.WAITING
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "REQUEUED"]


async def test_what_the_engine_does_not_let_go_of_is_handed_back_all_the_same(bench: Bench) -> None:
    job_id = await bench.accept()
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(2, reached, go_on)))

    running = asyncio.create_task(runner.run((job_id, 1)))
    await asyncio.to_thread(reached.wait, 10)
    runner.hand_back()
    await runner.abandon()
    job = await bench.job(job_id)
    go_on.set()
    await running

    assert (job.status, job.tries) == (JobStatus.WAITING, 0)
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "REQUEUED"]


async def test_the_engine_draws_the_next_job_while_the_pictures_of_the_last_are_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = [await bench.accept() for _ in range(3)]
    runner, put, may_store = bench.runner(ScriptedEngine(), Runner), bench.files.put, asyncio.Event()

    async def slow_put(key: str, content: bytes) -> None:
        await may_store.wait()
        await put(key, content)

    monkeypatch.setattr(bench.files, "put", slow_put)
    await asyncio.wait_for(runner.run((first, 1)), 10)
    after_second = asyncio.create_task(runner.run((second, 1)))
    await until(lambda: _has_drawn(bench, second))
    # Not more than one is stored at once: with a third it waits for the store.
    await asyncio.sleep(0.2)
    assert not after_second.done()
    assert {(await bench.job(each)).status for each in (first, second)} == {JobStatus.RUNNING}

    may_store.set()
    await asyncio.wait_for(after_second, 10)
    await runner.run((third, 1))
    await runner.settled()
    assert {(await bench.job(each)).status for each in (first, second, third)} == {JobStatus.SUCCESS}


async def test_what_is_at_work_is_not_begun_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id, engine = await bench.accept(), ScriptedEngine()
    runner, put, may_store = bench.runner(engine, Runner), bench.files.put, asyncio.Event()

    async def slow_put(key: str, content: bytes) -> None:
        await may_store.wait()
        await put(key, content)

    monkeypatch.setattr(bench.files, "put", slow_put)
    await asyncio.wait_for(runner.run((job_id, 1)), 10)
    await asyncio.wait_for(runner.run((job_id, 1)), 10)
    may_store.set()
    await runner.settled()

    assert engine.steps_done == [1, 2, 3, 4]
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "SUCCESS"]


async def _has_drawn(bench: Bench, job_id: int) -> bool:
    (progress,) = await bench.board.get([(job_id, 1)])
    return progress is not None and progress.step == STEPS


async def test_an_attempt_that_lost_its_job_stops_at_the_next_step_and_writes_nothing(bench: Bench) -> None:
    job_id = await bench.accept()
    reached, go_on = threading.Event(), threading.Event()
    engine = ScriptedEngine(pause_at(2, reached, go_on))

    running = asyncio.create_task(bench.runner(engine).run((job_id, 1)))
    await asyncio.to_thread(reached.wait, 10)
    await bench.jobs.requeue(job_id, 1, delay=timedelta(0), reason="as if its lease had lapsed")
    successor = await one_job.claim(bench.jobs, job_id, 2, worker="test:2", lease=timedelta(minutes=1))
    await asyncio.sleep(LEASE.total_seconds())  # time for a renewal, which is refused
    go_on.set()
    await running

    assert successor is not None
    job = await bench.job(job_id)
    assert (job.status, job.attempt, job.images) == (JobStatus.RUNNING, 2, ())
    assert engine.steps_done == [1]
    assert await bench.callbacks(job_id) == []


async def test_a_late_finish_is_refused_by_its_attempt(bench: Bench) -> None:
    job_id = await bench.accept()
    reached, go_on = threading.Event(), threading.Event()
    engine = ScriptedEngine(pause_at(STEPS, reached, go_on))

    running = asyncio.create_task(bench.runner(engine).run((job_id, 1)))
    await asyncio.to_thread(reached.wait, 10)
    await bench.execute("UPDATE jobs SET attempt = 2 WHERE id = $1", job_id)
    go_on.set()
    await running

    assert (await bench.job(job_id)).status == JobStatus.RUNNING
    assert await bench.callbacks(job_id) == []


async def test_a_stopping_worker_hands_its_job_back_at_its_old_place(bench: Bench) -> None:
    job_id, _later = await bench.accept(), await bench.accept()
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(2, reached, go_on)))

    running = asyncio.create_task(runner.run((job_id, 1)))
    await asyncio.to_thread(reached.wait, 10)
    runner.hand_back()
    go_on.set()
    await running

    assert (await bench.job(job_id)).status == JobStatus.WAITING
    assert (await bench.job(job_id)).tries == 0
    assert await bench.queue.places([(job_id, 2)]) == [QueuePlace(pool=POOL, rank=1, length=2, work_before_s=0)]
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "REQUEUED"]
