"""arq's worker as we use it: it starts what is queued at once, one at a time, in the order of the queue."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from gpu_worker.arq_worker import POLL_S, WakingWorker
from gpu_worker.runner import Runner
from jobs.job import QueuePlace
from jobs.storage.job_queue import WAKE, Attempt, JobQueue
from jobs.storage.job_store import Waiting
from jobs.turn import Turn
from tests.pools import POOL
from tests.until import until


def waiting(job_id: int, head_start: float = 0.0) -> Waiting:
    return Waiting(job_id, 1, 1.0, Turn(job_id, 1.0, head_start), pool=POOL)


class Recorder:
    """Stands where the runner stands; notes when it was asked to run what."""

    def __init__(self, queue: JobQueue, seconds: float = 0.0) -> None:
        self._queue = queue
        self._seconds = seconds
        self.loaded: dict[str, float] = {}
        self.started: list[Attempt] = []
        self.times: list[float] = []
        self.now_running = self.most_running = 0

    async def pick(self) -> list[Attempt]:
        return await self._queue.pick("recorder:1", POOL, self.loaded, 1.0) or []

    async def run(self, *attempts: Attempt) -> None:
        self.started += attempts
        self.times.append(time.perf_counter())
        await self._queue.start(*attempts)
        self.now_running += len(attempts)
        self.most_running = max(self.most_running, self.now_running)
        await asyncio.sleep(self._seconds)
        self.now_running -= len(attempts)

    async def has_started(self, count: int) -> None:
        async with asyncio.timeout(10):
            while len(self.started) < count:
                await asyncio.sleep(0.001)


async def test_an_idle_worker_starts_a_job_without_waiting_for_a_poll(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue)
    delays = []
    async with _working(recorder, redis):
        for number in range(1, 8):
            await asyncio.sleep(0.06)  # idle, at another phase of the poll each time
            queued_at = time.perf_counter()
            await queue.add([waiting(number)])
            await recorder.has_started(number)
            delays.append(recorder.times[-1] - queued_at)

    assert sorted(delays)[len(delays) // 2] < POLL_S / 5


async def test_jobs_start_one_at_a_time_in_the_order_of_their_turns(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue, seconds=0.01)
    await queue.add([waiting(number, head_start) for number, head_start in ((1, 10.0), (2, 30.0), (3, 20.0))])

    async with _working(recorder, redis):
        await recorder.has_started(3)

    assert [job_id for job_id, _ in recorder.started] == [2, 3, 1]
    assert recorder.most_running == 1


async def test_a_worker_starts_what_it_has_loaded_before_what_it_has_not(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue, seconds=0.01)
    recorder.loaded = {"b": 0.0}
    await queue.add([Waiting(i, 1, 1.0, Turn(i, 1.0), f"{model}|", POOL) for i, model in enumerate("abab", start=1)])

    async with _working(recorder, redis):
        await recorder.has_started(4)

    assert [job_id for job_id, _ in recorder.started] == [2, 4, 1, 3]


async def test_a_second_attempt_is_not_blocked_by_what_the_first_left_in_redis(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue)
    async with _working(recorder, redis):
        await queue.add([waiting(1)])
        await recorder.has_started(1)
        await queue.add([Waiting(1, 2, 1.0, None, pool=POOL)])
        await recorder.has_started(2)

    assert recorder.started == [(1, 1), (1, 2)]


async def test_a_running_job_is_not_counted_as_waiting(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue, seconds=0.5)
    async with _working(recorder, redis):
        await queue.add([waiting(1)])
        await recorder.has_started(1)
        places = await queue.add([waiting(2)])

    assert places == [QueuePlace(pool=POOL, rank=1, length=1, work_before_s=0)]


async def test_a_worker_goes_on_after_redis_was_emptied(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue)
    async with _working(recorder, redis):
        await queue.add([waiting(1)])
        await recorder.has_started(1)
        await redis.flushall()
        await queue.add([waiting(2)])
        await recorder.has_started(2)

    assert recorder.started == [(1, 1), (2, 1)]


async def test_an_error_of_redis_at_the_look_does_not_make_the_worker_deaf(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue)
    pick, errors = recorder.pick, [RedisConnectionError("gone")] * 2

    async def pick_that_breaks() -> list[Attempt]:
        if errors:
            raise errors.pop()
        return await pick()

    async with _working(recorder, redis):
        await queue.add([waiting(1)])
        await recorder.has_started(1)
        monkeypatch.setattr(recorder, "pick", pick_that_breaks)
        await queue.add([waiting(2)])
        await recorder.has_started(2)

    assert errors == []


async def test_what_could_not_be_begun_is_left_in_the_line_and_the_worker_goes_on(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue)
    run, errors = recorder.run, [RuntimeError("the database is away")]

    async def run_that_breaks(*attempts: Attempt) -> None:
        if errors:
            raise errors.pop()
        await run(*attempts)

    monkeypatch.setattr(recorder, "run", run_that_breaks)
    async with _working(recorder, redis):
        await queue.add([waiting(1)])
        await until(lambda: _is_empty(errors))
        await queue.add([waiting(2)])
        await recorder.has_started(1)

    assert recorder.started == [(2, 1)]
    assert [place and place.rank for place in await queue.places([(1, 1)])] == [1]


async def test_a_busy_worker_leaves_the_wake_ups_to_others(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    busy = Recorder(queue, seconds=1.0)
    async with _working(busy, redis):
        await asyncio.sleep(0.1)  # idle: it listens, and takes the first wake-up
        await queue.add([waiting(1)])
        await busy.has_started(1)
        await asyncio.sleep(0.05)
        await queue.add([waiting(2)])

        assert await redis.llen(WAKE + POOL) == 1


async def test_a_stopping_worker_ends_its_job_and_takes_no_other(redis: ArqRedis) -> None:
    queue = JobQueue(redis)
    recorder = Recorder(queue, seconds=0.2)
    await queue.add([waiting(number) for number in (1, 2)])

    async with _working(recorder, redis):
        await recorder.has_started(1)

    assert recorder.started == [(1, 1)] and recorder.now_running == 0
    assert await queue.places([(2, 1)]) == [QueuePlace(pool=POOL, rank=1, length=1, work_before_s=0)]


async def test_a_worker_that_is_told_to_stop_while_it_is_given_a_job_does_not_begin_it(redis: ArqRedis) -> None:
    queue, asked, answered = JobQueue(redis), asyncio.Event(), asyncio.Event()

    class Hesitating(Recorder):
        async def pick(self) -> list[Attempt]:
            asked.set()
            await answered.wait()
            return await super().pick()

    recorder = Hesitating(queue)
    await queue.add([waiting(1)])
    async with _working(recorder, redis) as worker:
        await asked.wait()
        worker.stop_picking()
        answered.set()

    assert recorder.started == []


@asynccontextmanager
async def _working(recorder: Recorder, redis: ArqRedis) -> AsyncIterator[WakingWorker]:
    """Stops the worker as the process does, and waits for its end."""
    worker = WakingWorker(cast(Runner, cast(Any, recorder)), redis, POOL)
    working = asyncio.create_task(worker.main())
    yield worker
    worker.stop_picking()
    await asyncio.wait_for(working, 10)


async def _is_empty(errors: list[RuntimeError]) -> bool:
    return not errors
