"""What PostgreSQL holds and Redis does not is queued."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from jobs.pool import NOBODY
from jobs.storage.database import Database
from jobs.storage.job_queue import ENTRIES, LINE, JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.redis_connection import open_redis
from orchestrator.app import WebOptions
from orchestrator.filler import COMPARE_EVERY, Filler
from tests.jobs.samples import Clock
from tests.orchestrator.conftest import Api, body, open_api
from tests.orchestrator.looking import filler


async def test_an_emptied_redis_is_filled_in_the_same_order(api: Api, database: Database, redis: ArqRedis) -> None:
    filling = filler(database, redis)
    ids = await _accepted(api, 5)
    await filling.fill()
    await redis.flushall()

    await filling.fill()

    assert await _places(redis, ids) == [(rank, 5) for rank in range(1, 6)]


async def test_a_job_that_redis_was_never_told_of_is_queued_when_it_is_back(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with open_redis("redis://127.0.0.1:1") as nowhere, open_api(options, database, nowhere) as api:
        ids = await _accepted(api, 2)

    await filler(database, redis).fill()

    assert await _places(redis, ids) == [(1, 2), (2, 2)]


async def test_a_job_that_only_one_lost_signal_concerns_is_queued_within_a_minute(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    clock = Clock()
    filling = filler(database, redis, clock)
    (job_id,) = await _accepted(api, 1)
    await filling.fill()
    await JobQueue(redis).remove((job_id, 1))

    await filling.fill()
    at_once = await _places(redis, [job_id])
    clock.time += COMPARE_EVERY + timedelta(seconds=1)
    await filling.fill()

    assert at_once == [None]
    assert await _places(redis, [job_id]) == [(1, 1)]


async def test_in_a_long_line_the_newest_are_compared_each_minute_and_the_others_bit_by_bit(
    api: Api, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.filler.PAGE", 2)
    monkeypatch.setattr("orchestrator.filler.COMPARED_AT_ONCE", 4)
    clock = Clock()
    filling = filler(database, redis, clock)
    old = await _accepted(api, 9)
    await filling.fill()
    await _a_minute_later(clock, filling)  # of the old ones it compares the first four
    new = await _accepted(api, 5)
    for job_id in (*old, *new):
        await JobQueue(redis).remove((job_id, 1))

    queued = []
    for _ in range(4):
        await _a_minute_later(clock, filling)
        queued.append([place is not None for place in await _places(redis, [*old, *new])])

    second = [False] * 4 + [True] * 4 + [False] + [True] * 5
    third = [False] * 4 + [True] * 10
    assert queued == [second, third, third, [True] * 14]


async def _a_minute_later(clock: Clock, filling: Filler) -> None:
    clock.time += COMPARE_EVERY + timedelta(seconds=1)
    await filling.fill()


class Interrupted(JobStore):
    """Something happens while a page is read, by default the first."""

    def __init__(self, database: Database, meanwhile: Callable[[], Awaitable[object]], page: int = 1) -> None:
        super().__init__(database)
        self._meanwhile = meanwhile
        self._page = page

    async def waiting_after(self, job_id: int, *, limit: int) -> list[tuple[int, int]]:
        page = await super().waiting_after(job_id, limit=limit)
        self._page -= 1
        if not self._page:
            await self._meanwhile()
        return page


async def test_a_job_that_could_not_be_queued_meanwhile_is_queued_by_the_next(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    (job_id,) = await _accepted(api, 1)

    async def one_is_lost() -> None:
        filling.fill_soon()

    jobs = Interrupted(database, one_is_lost)
    filling = filler(database, redis, jobs=jobs)
    await filling.fill()
    await JobQueue(redis).remove((job_id, 1))

    await filling.fill()

    assert await _places(redis, [job_id]) == [(1, 1)]


async def test_a_redis_that_is_emptied_meanwhile_is_filled_by_the_next(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    ids = await _accepted(api, 3)

    async def emptied() -> None:
        await redis.flushall()

    jobs = Interrupted(database, emptied)
    filling = filler(database, redis, jobs=jobs)
    await filling.fill()
    await redis.delete(LINE + NOBODY, ENTRIES)

    await filling.fill()

    assert await _places(redis, ids) == [(rank, 3) for rank in (1, 2, 3)]


@pytest.mark.parametrize("page", [2, 7], ids=["filling", "comparing"])
async def test_a_redis_that_is_emptied_meanwhile_is_filled_from_the_first_on(
    api: Api, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("orchestrator.filler.PAGE", 2)
    clock = Clock()
    ids = await _accepted(api, 9)
    jobs = Interrupted(database, redis.flushall, page)
    filling = filler(database, redis, clock, jobs=jobs)
    await filling.fill()
    if page > 5:  # so many pages are all
        await _a_minute_later(clock, filling)

    standing = await JobQueue(redis).length()
    await filling.fill()

    assert standing == 0
    assert await _places(redis, ids) == [(rank, 9) for rank in range(1, 10)]


async def test_a_job_that_is_committed_late_and_lost_is_found_among_the_newest(
    api: Api, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.filler.COMPARED_AT_ONCE", 0)
    clock = Clock()
    filling = filler(database, redis, clock)
    await _accepted(api, 1)
    await filling.fill()
    (late, _) = await _accepted(api, 2)
    await _unseen(database, late)
    await _a_minute_later(clock, filling)  # this reaches the job after it
    await _seen(database, late)
    await JobQueue(redis).remove((late, 1))

    await _a_minute_later(clock, filling)

    assert await _places(redis, [late]) == [(2, 3)]


async def _unseen(database: Database, job_id: int) -> None:
    """As if it were not committed yet."""
    async with database.connection() as connection:
        await connection.execute("UPDATE jobs SET parked_at = now() WHERE id = $1", job_id)


async def _seen(database: Database, job_id: int) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE jobs SET parked_at = NULL WHERE id = $1", job_id)


async def _accepted(api: Api, count: int) -> list[int]:
    answers = [await api.post_job(body()) for _ in range(count)]
    return [int(answer["job"]["id"]) for _, answer in answers]


async def _places(redis: ArqRedis, ids: list[int]) -> list[tuple[int, int] | None]:
    """Rank and length."""
    places = await JobQueue(redis).places((job_id, 1) for job_id in ids)
    return [place and (place.rank, place.length) for place in places]
