"""A worker that an operator has paused takes no new job, ends the one at hand, and goes on when it may."""

import argparse
import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from arq.connections import ArqRedis

from cli.stack import StackFailed
from cli.workers import drain, pause, resume
from gpu_worker.arq_worker import WakingWorker
from jobs.job import JobStatus
from jobs.storage.background import beside
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import ALL, Pauses, of_pool
from tests import one_job
from tests.gpu_worker.conftest import Bench
from tests.gpu_worker.scripted_engine import ScriptedEngine, nothing, pause_at
from tests.pools import MEMBER, POOL
from tests.until import until

NAME = "test:1"


@asynccontextmanager
async def at_work(bench: Bench, redis: ArqRedis, on_step: Callable[[int], None] = nothing) -> AsyncIterator[None]:
    runner = bench.runner(ScriptedEngine(on_step))
    worker = WakingWorker(runner, redis, POOL)
    async with beside(runner.presence.tell_for_ever()):
        working = asyncio.create_task(worker.main())
        try:
            await until(lambda: is_told(redis))
            yield
        finally:
            worker.stop_picking()
            await asyncio.wait_for(working, 5)


async def is_told(redis: ArqRedis) -> bool:
    worker = (await OutlookBoard(redis).alive()).get(NAME)
    return worker is not None and not worker.is_paused


async def is_done(bench: Bench, job_id: int) -> bool:
    return (await bench.job(job_id)).status == JobStatus.SUCCESS


def named(worker: str = ALL, within: float = 5) -> argparse.Namespace:
    return argparse.Namespace(worker=worker, within=within)


@pytest.mark.parametrize("worker", [ALL, NAME])
async def test_a_paused_worker_takes_no_job_until_it_is_resumed(bench: Bench, redis: ArqRedis, worker: str) -> None:
    async with at_work(bench, redis):
        await pause(redis, named(worker))
        await asyncio.sleep(0.7)  # the look that is under way
        job_id = await bench.accept()
        await asyncio.sleep(1)
        assert (await bench.job(job_id)).status == JobStatus.WAITING
        # It is alive, and counts for no forecast.
        assert (await OutlookBoard(redis).alive())[NAME].is_paused
        assert (await OutlookBoard(redis).read()).workers == 0

        await resume(redis, named(worker))
        await until(lambda: is_done(bench, job_id))
        await until(lambda: is_told(redis))


async def test_another_workers_pause_is_not_its_own(bench: Bench, redis: ArqRedis) -> None:
    await Pauses(redis).pause("other:2")
    async with at_work(bench, redis):
        job_id = await bench.accept()
        await until(lambda: is_done(bench, job_id))


@pytest.mark.parametrize("worker", [ALL, NAME])
async def test_a_drained_worker_has_ended_its_job(bench: Bench, redis: ArqRedis, worker: str) -> None:
    reached, go_on = threading.Event(), threading.Event()
    async with at_work(bench, redis, pause_at(2, reached, go_on)):
        job_id, later = await bench.accept(), await bench.accept()
        await asyncio.to_thread(reached.wait, 10)
        with pytest.raises(StackFailed, match=r"still at work after 0\.3 s"):
            await drain(redis, bench.database, named(worker, within=0.3))

        draining = asyncio.create_task(drain(redis, bench.database, named(worker, within=10)))
        go_on.set()

        they_are = "all workers are idle, and take no new job: now they can be stopped; `darkroom resume` undoes it"
        it_is = "test:1 is idle, and takes no new job: now it can be stopped; `darkroom resume test:1` undoes it"
        assert await draining == (they_are if worker == ALL else it_is)
        assert (await bench.job(job_id)).status == JobStatus.SUCCESS
        assert (await bench.job(later)).status == JobStatus.WAITING


async def test_a_worker_that_is_silent_or_stores_its_pictures_still_is_at_work(bench: Bench, redis: ArqRedis) -> None:
    job_id = await bench.accept()
    job = await one_job.claim(bench.jobs, job_id, 1, worker=NAME, lease=bench.lease)
    assert job is not None
    await OutlookBoard(redis, lambda: time.time() - 9.9).tell(NAME, **MEMBER)

    draining = asyncio.create_task(drain(redis, bench.database, named(NAME, within=10)))
    await until(lambda: is_silent(redis))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(draining), 1)
    await one_job.succeed(bench.jobs, job, [])

    assert "test:1 is idle" in await draining


async def test_a_worker_that_takes_jobs_again_is_not_waited_for(bench: Bench, redis: ArqRedis) -> None:
    await OutlookBoard(redis).tell(NAME, **MEMBER)

    draining = asyncio.create_task(drain(redis, bench.database, named(NAME, within=10)))
    await until(lambda: Pauses(redis).hold(NAME))
    await resume(redis, named(NAME))

    with pytest.raises(StackFailed, match="test:1 takes jobs again"):
        await draining


async def is_silent(redis: ArqRedis) -> bool:
    return not await is_told(redis)


async def test_a_worker_that_nobody_knows_is_not_paused(redis: ArqRedis) -> None:
    await OutlookBoard(redis).tell("here:7", **MEMBER)

    for act in (pause, resume):
        with pytest.raises(
            StackFailed, match="no worker or pool is named 'gone:1'; there are 'here:7' and 'pool:test'"
        ):
            await act(redis, named("gone:1"))


async def test_all_resumed_are_all(redis: ArqRedis) -> None:
    pauses = Pauses(redis)
    for name in (ALL, "a:1", "b:2"):
        await pauses.pause(name)

    await pauses.resume()

    assert await pauses.named() == set()
    assert not await pauses.hold("a:1")


async def test_a_pool_is_drained_when_all_its_workers_are_idle_those_that_hang_too(
    bench: Bench, redis: ArqRedis
) -> None:
    job_id = await bench.accept()
    job = await one_job.claim(bench.jobs, job_id, 1, worker=NAME, lease=bench.lease)
    assert job is not None
    # Too long to count as alive.
    await OutlookBoard(redis, lambda: time.time() - 20).tell(NAME, **MEMBER)
    await OutlookBoard(redis).tell("test:2", **MEMBER)

    draining = asyncio.create_task(drain(redis, bench.database, named(of_pool(POOL), within=10)))
    await until(lambda: Pauses(redis).hold(of_pool(POOL)))
    await OutlookBoard(redis).forget("test:2")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(draining), 1)
    await one_job.succeed(bench.jobs, job, [])

    assert "can be stopped" in await draining


@pytest.mark.parametrize(
    ("paused", "resumed", "said"),
    [
        ((), ALL, "nothing had been paused"),
        ((), NAME, "test:1 had not been paused"),
        ((ALL, NAME), ALL, "all workers take jobs again"),
        ((NAME,), NAME, "test:1 takes jobs again"),
        (("pool:test",), "pool:test", "pool:test takes jobs again"),
        ((ALL,), "pool:test", "pool:test had not been paused, but all workers are still paused (`darkroom resume`)"),
        (
            (ALL, "pool:test"),
            "pool:test",
            "the pause of pool:test is over, but all workers are still paused (`darkroom resume`)",
        ),
        (
            (ALL, "pool:test", NAME),
            NAME,
            "the pause of test:1 is over, but all workers and pool:test are still paused (`darkroom resume` and"
            " `darkroom resume pool:test`)",
        ),
        (
            ("pool:test", "test:2", "other:3"),
            "pool:test",
            "the pause of pool:test is over, but test:2 is still paused (`darkroom resume test:2`)",
        ),
    ],
)
async def test_who_resumes_hears_who_is_paused_still(
    redis: ArqRedis, paused: tuple[str, ...], resumed: str, said: str
) -> None:
    for name in (NAME, "test:2"):
        await OutlookBoard(redis).tell(name, **MEMBER)
    for name in paused:
        await Pauses(redis).pause(name)

    assert await resume(redis, named(resumed)) == said


async def test_a_pause_says_how_it_is_undone(redis: ArqRedis) -> None:
    await OutlookBoard(redis).tell(NAME, **MEMBER)

    said = [await pause(redis, named(name)) for name in (ALL, "pool:test")]

    assert said == [
        "all workers take no new job; `darkroom resume` undoes it",
        "pool:test takes no new job; `darkroom resume pool:test` undoes it",
    ]
