"""A canceled job costs its worker no more than the step at hand."""

import asyncio
import threading
from datetime import timedelta

from arq.connections import ArqRedis

from gpu_worker.arq_worker import WakingWorker
from gpu_worker.runner import Runner
from jobs.errors import AttemptLost
from jobs.job import JobStatus
from tests.gpu_worker.conftest import LEASE, STEPS, Bench
from tests.gpu_worker.scripted_engine import ScriptedEngine, pause_at
from tests.pools import POOL
from tests.until import until


async def cancel(bench: Bench, job_id: int) -> None:
    """As the web process does."""
    await bench.queue.cancel(job_id, await bench.jobs.cancel(bench.account_id, job_id))


async def test_a_running_job_stops_before_its_next_step_and_leaves_no_picture(bench: Bench) -> None:
    bench.lease = timedelta(minutes=1)  # no renewal tells of the cancel in this test's time
    job_id = await bench.accept()
    reached, go_on = threading.Event(), threading.Event()
    engine = ScriptedEngine(pause_at(2, reached, go_on))
    runner = bench.runner(engine)

    running = asyncio.create_task(runner.run((job_id, 1)))
    await asyncio.to_thread(reached.wait, 10)
    await cancel(bench, job_id)
    await until(lambda: _is_heard(runner))
    go_on.set()
    await asyncio.wait_for(running, 5)

    job = await bench.job(job_id)
    assert (job.status, job.failure, job.images) == (JobStatus.CANCELED, None, ())
    assert engine.steps_done == [1]
    assert await bench.events(job_id) == ["ACCEPTED", "STARTED", "CANCELED"]
    assert await bench.callbacks(job_id) == ["TERMINAL"]


async def test_a_cancel_that_redis_did_not_carry_is_heard_when_the_lease_is_renewed(bench: Bench) -> None:
    job_id = await bench.accept()
    reached, go_on = threading.Event(), threading.Event()
    engine = ScriptedEngine(pause_at(2, reached, go_on))

    running = asyncio.create_task(bench.runner(engine).run((job_id, 1)))
    await asyncio.to_thread(reached.wait, 10)
    await bench.jobs.cancel(bench.account_id, job_id)
    await asyncio.sleep(LEASE.total_seconds())  # time for a renewal, which is refused
    go_on.set()
    await asyncio.wait_for(running, 5)

    assert engine.steps_done == [1]
    assert (await bench.job(job_id)).status == JobStatus.CANCELED


async def test_a_cancel_that_comes_with_the_last_step_is_before_the_pictures(bench: Bench) -> None:
    job_id = await bench.accept()
    engine = ScriptedEngine()
    runner = bench.runner(engine)
    engine.on_decode = lambda: asyncio.run_coroutine_threadsafe(_cancel_and_hear(bench, job_id), loop).result(10)
    loop = asyncio.get_running_loop()

    await runner.run((job_id, 1))

    assert engine.steps_done == list(range(1, STEPS + 1))
    assert (await bench.job(job_id)).status == JobStatus.CANCELED
    assert not [path for path in bench.folder.rglob("*") if path.is_file()]


async def test_the_worker_is_free_for_the_next_job_at_once(bench: Bench, redis: ArqRedis) -> None:
    canceled, waiting, next_one = [await bench.accept() for _ in range(3)]
    reached, go_on = threading.Event(), threading.Event()
    engine = ScriptedEngine(pause_at(1, reached, go_on))
    runner = bench.runner(engine)
    worker = WakingWorker(runner, redis, POOL)

    working = asyncio.create_task(worker.main())
    await asyncio.to_thread(reached.wait, 10)
    for job_id in (canceled, waiting):
        await cancel(bench, job_id)
    await until(lambda: _is_heard(runner))
    go_on.set()
    await until(lambda: _is(bench, next_one, JobStatus.SUCCESS))
    worker.stop_picking()
    await asyncio.wait_for(working, 5)

    assert [(await bench.job(job_id)).status for job_id in (canceled, waiting)] == [JobStatus.CANCELED] * 2
    assert await bench.events(waiting) == ["ACCEPTED", "CANCELED"]


async def test_a_canceled_job_that_redis_still_holds_is_passed_over(bench: Bench, redis: ArqRedis) -> None:
    job_id, next_one = await bench.accept(), await bench.accept()
    await bench.jobs.cancel(bench.account_id, job_id)
    engine = ScriptedEngine()
    runner: Runner = bench.runner(engine)

    await runner.run((job_id, 1))

    assert engine.steps_done == []
    places = await bench.queue.places([(job_id, 1), (next_one, 1)])
    assert places[0] is None and places[1] is not None and places[1].rank == 1


async def _cancel_and_hear(bench: Bench, job_id: int) -> None:
    await cancel(bench, job_id)
    await asyncio.sleep(LEASE.total_seconds())


async def _is_heard(runner: Runner) -> bool:
    """By the attempt at hand."""
    (watch,) = runner._watches
    try:
        watch.check()
    except AttemptLost:
        return True
    return False


async def _is(bench: Bench, job_id: int, status: JobStatus) -> bool:
    return (await bench.job(job_id)).status == status
