"""What crashes leave is mended."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from jobs.job import JobStatus
from jobs.pool import NOBODY
from jobs.storage.database import Database
from jobs.storage.job_queue import ENTRIES, LINE, JobQueue
from jobs.storage.job_store import JobStore, Waiting
from jobs.storage.redis_connection import open_redis
from orchestrator.app import WebOptions
from orchestrator.sweeper import COMPARE_EVERY, Sweeper
from tests import one_job
from tests.jobs.samples import Clock
from tests.orchestrator.conftest import Api, body, open_api
from tests.orchestrator.looking import foresight

MAX_ATTEMPTS = 2


def sweeper(database: Database, redis: ArqRedis, clock: Clock | None = None) -> Sweeper:
    every = timedelta(seconds=1)
    return Sweeper(
        JobStore(database),
        JobQueue(redis),
        foresight(redis),
        every=every,
        max_attempts=MAX_ATTEMPTS,
        now=clock or Clock(),
    )


async def test_an_emptied_redis_is_filled_in_the_same_order(api: Api, database: Database, redis: ArqRedis) -> None:
    sweeping = sweeper(database, redis)
    ids = await _accepted(api, 5)
    await sweeping.sweep()
    await redis.flushall()

    await sweeping.sweep()

    assert await _places(redis, ids) == [(rank, 5) for rank in range(1, 6)]


async def test_a_job_that_redis_was_never_told_of_is_queued_when_it_is_back(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with open_redis("redis://127.0.0.1:1") as nowhere, open_api(options, database, nowhere) as api:
        ids = await _accepted(api, 2)

    await sweeper(database, redis).sweep()

    assert await _places(redis, ids) == [(1, 2), (2, 2)]


async def test_a_job_that_only_one_lost_signal_concerns_is_queued_within_a_minute(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    clock = Clock()
    sweeping = sweeper(database, redis, clock)
    (job_id,) = await _accepted(api, 1)
    await sweeping.sweep()
    await JobQueue(redis).remove((job_id, 1))

    await sweeping.sweep()
    at_once = await _places(redis, [job_id])
    clock.time += COMPARE_EVERY + timedelta(seconds=1)
    await sweeping.sweep()

    assert at_once == [None]
    assert await _places(redis, [job_id]) == [(1, 1)]


async def test_in_a_long_line_the_newest_are_compared_each_minute_and_the_others_bit_by_bit(
    api: Api, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.sweeper.PAGE", 2)
    monkeypatch.setattr("orchestrator.sweeper.COMPARED_AT_ONCE", 4)
    clock = Clock()
    sweeping = sweeper(database, redis, clock)
    old = await _accepted(api, 9)
    await sweeping.sweep()
    await _a_minute_later(clock, sweeping)  # of the old ones it compares the first four
    new = await _accepted(api, 5)
    for job_id in (*old, *new):
        await JobQueue(redis).remove((job_id, 1))

    queued = []
    for _ in range(4):
        await _a_minute_later(clock, sweeping)
        queued.append([place is not None for place in await _places(redis, [*old, *new])])

    second = [False] * 4 + [True] * 4 + [False] + [True] * 5
    third = [False] * 4 + [True] * 10
    assert queued == [second, third, third, [True] * 14]


async def _a_minute_later(clock: Clock, sweeping: Sweeper) -> None:
    clock.time += COMPARE_EVERY + timedelta(seconds=1)
    await sweeping.sweep()


async def test_a_job_whose_worker_fell_silent_goes_back_to_its_place(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    jobs, queue = JobStore(database), JobQueue(redis)
    first, second = await _accepted(api, 2)
    await one_job.claim(jobs, first, 1, worker="dead:1", lease=timedelta(seconds=-1))
    await queue.remove((first, 1))

    await sweeper(database, redis).sweep()

    assert (await one_job.get(jobs, first)).status == JobStatus.WAITING
    places = await queue.places([(first, 2), (second, 1)])
    assert [place and place.rank for place in places] == [1, 2]


async def test_a_job_that_loses_each_worker_fails_and_calls_back(api: Api, database: Database, redis: ArqRedis) -> None:
    jobs = JobStore(database)
    _, answer = await api.post_job(body() | {"notifyUrl": "http://127.0.0.1:9/"})
    job_id = int(answer["job"]["id"])
    for attempt in range(1, MAX_ATTEMPTS + 1):
        await one_job.claim(jobs, job_id, attempt, worker="dead:1", lease=timedelta(seconds=-1))
        await sweeper(database, redis).sweep()

    job = await api.job(str(job_id))
    assert (job["status"], job["failedInfo"]["code"]) == ("FAILED", "FATAL_ERROR")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM deliveries WHERE kind = 'TERMINAL'") == 1


async def test_a_lease_that_holds_is_left_alone(api: Api, database: Database, redis: ArqRedis) -> None:
    jobs = JobStore(database)
    (job_id,) = await _accepted(api, 1)
    await one_job.claim(jobs, job_id, 1, worker="alive:1", lease=timedelta(minutes=1))

    await sweeper(database, redis).sweep()

    job = await one_job.get(jobs, job_id)
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 1)


async def test_a_parked_job_is_left_alone_until_its_account_has_room(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    jobs, queue = JobStore(database), JobQueue(redis)
    first, second = await _accepted(api, 2)
    await _execute(database, "UPDATE accounts SET max_running = 0")
    await one_job.claim(jobs, first, 1, worker="busy:1", lease=timedelta(minutes=1))
    await queue.remove((first, 1))
    await _execute(database, "UPDATE jobs SET parked_at = parked_at - interval '1 minute'")

    await sweeper(database, redis).sweep()
    assert await _places(redis, [first, second]) == [None, (1, 1)]
    await _execute(database, "UPDATE accounts SET max_running = 1")
    await sweeper(database, redis).sweep()

    assert await _places(redis, [first, second]) == [(1, 2), (2, 2)]


class Interrupted(JobStore):
    """Something happens while its first page is read."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__(database)
        self._meanwhile = [meanwhile]

    async def waiting(self, *, after: int, limit: int) -> list[Waiting]:
        page = await super().waiting(after=after, limit=limit)
        if self._meanwhile:
            await self._meanwhile.pop()()
        return page


async def test_a_job_that_could_not_be_queued_during_a_sweep_is_queued_by_the_next(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    (job_id,) = await _accepted(api, 1)

    async def one_is_lost() -> None:
        sweeping.fill_soon()

    jobs = Interrupted(database, one_is_lost)
    sweeping = Sweeper(
        jobs, JobQueue(redis), foresight(redis), every=timedelta(seconds=1), max_attempts=MAX_ATTEMPTS, now=Clock()
    )
    await sweeping.sweep()
    await JobQueue(redis).remove((job_id, 1))

    await sweeping.sweep()

    assert await _places(redis, [job_id]) == [(1, 1)]


async def test_a_redis_that_is_emptied_during_a_sweep_is_filled_by_the_next(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    ids = await _accepted(api, 3)

    async def emptied() -> None:
        await redis.flushall()

    jobs = Interrupted(database, emptied)
    sweeping = Sweeper(
        jobs, JobQueue(redis), foresight(redis), every=timedelta(seconds=1), max_attempts=MAX_ATTEMPTS, now=Clock()
    )
    await sweeping.sweep()
    await redis.delete(LINE + NOBODY, ENTRIES)

    await sweeping.sweep()

    assert await _places(redis, ids) == [(rank, 3) for rank in (1, 2, 3)]


async def _accepted(api: Api, count: int) -> list[int]:
    answers = [await api.post_job(body()) for _ in range(count)]
    return [int(answer["job"]["id"]) for _, answer in answers]


async def _places(redis: ArqRedis, ids: list[int]) -> list[tuple[int, int] | None]:
    """Rank and length."""
    places = await JobQueue(redis).places((job_id, 1) for job_id in ids)
    return [place and (place.rank, place.length) for place in places]


async def _execute(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statement)
