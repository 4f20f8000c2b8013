"""Jobs that are given to a worker together, because all should be short."""

import asyncio
import threading
from collections.abc import Sequence
from datetime import timedelta

import pytest

from gpu_worker import engine_thread
from jobs.job import JobStatus
from jobs.storage.job_store import Success
from tests.gpu_worker.conftest import STEPS, Bench
from tests.gpu_worker.scripted_engine import ScriptedEngine, pause_at
from tests.gpu_worker.test_canceled import cancel
from tests.until import until

NUMBER = 5


async def statuses(bench: Bench, ids: Sequence[int]) -> list[JobStatus]:
    return [(await bench.job(job_id)).status for job_id in ids]


async def test_they_are_drawn_one_after_the_other_and_leave_the_line(bench: Bench) -> None:
    ids = [await bench.accept(seed=seed) for seed in range(NUMBER)]
    engine = ScriptedEngine()

    await bench.runner(engine).run(*((job_id, 1) for job_id in ids))

    assert engine.steps_done == [*range(1, STEPS + 1)] * NUMBER
    assert await statuses(bench, ids) == [JobStatus.SUCCESS] * NUMBER
    assert [await bench.events(job_id) for job_id in ids] == [["ACCEPTED", "STARTED", "SUCCESS"]] * NUMBER
    assert [await bench.callbacks(job_id) for job_id in ids] == [["TERMINAL"]] * NUMBER
    assert await bench.queue.length() == 0


async def test_what_cannot_be_claimed_leaves_the_line_as_well(bench: Bench) -> None:
    canceled, job_id = await bench.accept(), await bench.accept()
    await bench.jobs.cancel(bench.account_id, canceled)

    await bench.runner(ScriptedEngine()).run((canceled, 1), (job_id, 1))

    assert await statuses(bench, [canceled, job_id]) == [JobStatus.CANCELED, JobStatus.SUCCESS]
    assert await bench.queue.length() == 0


async def test_a_cancel_of_one_concerns_no_other(bench: Bench) -> None:
    ids = [await bench.accept() for _ in range(3)]
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(1, reached, go_on)))

    running = asyncio.create_task(runner.run(*((job_id, 1) for job_id in ids)))
    await asyncio.to_thread(reached.wait, 10)
    await cancel(bench, ids[1])
    go_on.set()
    await running

    assert await statuses(bench, ids) == [JobStatus.SUCCESS, JobStatus.CANCELED, JobStatus.SUCCESS]


async def test_what_waits_for_the_engine_for_longer_than_was_foretold_is_left_to_others(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_thread, "TURN_WITHIN_S", 0.1)
    slow, second, third = [await bench.accept() for _ in range(3)]
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(1, reached, go_on)))

    running = asyncio.create_task(runner.run((slow, 1), (second, 1), (third, 1)))
    await asyncio.to_thread(reached.wait, 10)
    await until(lambda: _wait(bench, second, third))
    go_on.set()
    await running

    assert await statuses(bench, [slow, second, third]) == [JobStatus.SUCCESS, JobStatus.WAITING, JobStatus.WAITING]
    # At the front, and no attempt is counted.
    assert {(await bench.job(job_id)).tries for job_id in (second, third)} == {0}
    places = await bench.queue.places([(second, 2), (third, 2)])
    assert sorted(place.rank for place in places if place) == [1, 2]
    assert await bench.last_event(second) == ("REQUEUED", "The job before it takes longer than was foretold.")


async def test_a_stopped_worker_hands_all_of_them_back(bench: Bench) -> None:
    bench.lease = timedelta(minutes=1)
    ids = [await bench.accept() for _ in range(3)]
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(2, reached, go_on)))

    running = asyncio.create_task(runner.run(*((job_id, 1) for job_id in ids)))
    await asyncio.to_thread(reached.wait, 10)
    runner.hand_back()
    go_on.set()
    await running

    assert await statuses(bench, ids) == [JobStatus.WAITING] * 3
    assert [place and place.length for place in await bench.queue.places((job_id, 2) for job_id in ids)] == [3] * 3


async def test_ends_that_come_while_one_is_being_stored_are_one_statement(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [await bench.accept() for _ in range(NUMBER)]
    succeed_all, may_store, sizes = bench.jobs.succeed_all, asyncio.Event(), list[int]()
    engine = ScriptedEngine()

    async def noted(successes: Sequence[Success]) -> set[tuple[int, int]]:
        sizes.append(len(successes))
        await may_store.wait()
        return await succeed_all(successes)

    monkeypatch.setattr(bench.jobs, "succeed_all", noted)
    running = asyncio.create_task(bench.runner(engine).run(*((job_id, 1) for job_id in ids)))
    await until(lambda: _has_drawn(engine, NUMBER))
    await asyncio.sleep(0.3)  # their pictures are being encoded
    may_store.set()
    await running

    assert (len(sizes), sum(sizes)) == (2, NUMBER)
    assert await statuses(bench, ids) == [JobStatus.SUCCESS] * NUMBER


async def test_one_that_cannot_be_stored_keeps_no_other_from_it(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [await bench.accept() for _ in range(NUMBER)]
    succeed_all, may_store, engine = bench.jobs.succeed_all, asyncio.Event(), ScriptedEngine()

    async def spoiled(successes: Sequence[Success]) -> set[tuple[int, int]]:
        await may_store.wait()
        if ids[-1] in [each.job.id for each in successes]:
            raise ValueError("no such thing")
        return await succeed_all(successes)

    monkeypatch.setattr(bench.jobs, "succeed_all", spoiled)
    running = asyncio.create_task(bench.runner(engine).run(*((job_id, 1) for job_id in ids)))
    await until(lambda: _has_drawn(engine, NUMBER))
    await asyncio.sleep(0.3)  # their pictures are being encoded
    may_store.set()
    await running

    assert await statuses(bench, ids[:-1]) == [JobStatus.SUCCESS] * (NUMBER - 1)
    assert await bench.last_event(ids[-1]) == ("REQUEUED", "the worker broke unexpectedly (ValueError)")


async def _wait(bench: Bench, *ids: int) -> bool:
    return set(await statuses(bench, ids)) == {JobStatus.WAITING}


async def _has_drawn(engine: ScriptedEngine, number: int) -> bool:
    return len(engine.steps_done) == number * STEPS
