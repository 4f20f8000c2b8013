"""Who is at work hears of a cancel, over one connection for all attempts of a worker."""

import asyncio
from contextlib import ExitStack

import pytest
from arq.connections import ArqRedis
from redis.exceptions import ConnectionError as RedisConnectionError

from jobs.storage import cancels as module
from jobs.storage.cancels import CANCELS, LIFE_S, Cancels, open_cancels
from jobs.storage.job_queue import JobQueue
from tests.until import until


@pytest.fixture
def queue(redis: ArqRedis) -> JobQueue:
    return JobQueue(redis)


async def readers(redis: ArqRedis) -> int:
    return sum(client["cmd"] == "xread" for client in await redis.client_list())


async def test_who_listens_already_hears_of_it_and_no_other_attempt_does(queue: JobQueue, redis: ArqRedis) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    async with open_cancels(redis) as cancels:
        with cancels.when_canceled(7, 1, first.set), cancels.when_canceled(7, 2, second.set):
            await queue.cancel(7, 1)

            await asyncio.wait_for(first.wait(), 5)
            assert not second.is_set()


async def test_who_listens_later_hears_of_it_at_once_and_so_does_a_worker_that_starts_later(
    queue: JobQueue, redis: ArqRedis
) -> None:
    await queue.cancel(7, 1)
    last = asyncio.Event()
    async with open_cancels(redis) as cancels:
        with cancels.when_canceled(7, 1, last.set):
            await asyncio.wait_for(last.wait(), 5)
        heard = []
        with cancels.when_canceled(7, 1, lambda: heard.append("at once")):
            assert heard == ["at once"]


async def test_who_has_ended_is_not_told(queue: JobQueue, redis: ArqRedis) -> None:
    heard, last = [], asyncio.Event()
    async with open_cancels(redis) as cancels:
        with cancels.when_canceled(8, 1, last.set):
            with cancels.when_canceled(7, 1, lambda: heard.append(7)):
                pass
            await queue.cancel(7, 1)
            await queue.cancel(8, 1)
            await asyncio.wait_for(last.wait(), 5)

    assert heard == []


async def test_any_number_of_attempts_is_one_connection_and_none_when_it_is_closed(redis: ArqRedis) -> None:
    async with open_cancels(redis) as cancels:
        with ExitStack() as attempts:
            for job_id in range(20):
                attempts.enter_context(cancels.when_canceled(job_id, 1, lambda: None))
            await until(lambda: _reading(redis, 1))
            await asyncio.sleep(0.1)
            assert await readers(redis) == 1

    await until(lambda: _reading(redis, 0))


async def test_what_comes_while_the_connection_is_away_is_heard_after(
    queue: JobQueue, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard, xread, errors = asyncio.Event(), redis.xread, [RedisConnectionError("gone")] * 3
    cancels, told = Cancels(redis), list[int]()

    async def broken_thrice(*arguments: object, **options: object) -> object:
        if told and errors:
            raise errors.pop()
        return await xread(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(redis, "xread", broken_thrice)
    async with module.beside(cancels.listen_for_ever()):
        with cancels.when_canceled(1, 1, lambda: told.append(1)), cancels.when_canceled(2, 1, heard.set):
            await queue.cancel(1, 1)
            await until(lambda: _is_empty(errors))
            await queue.cancel(2, 1)
            await asyncio.wait_for(heard.wait(), 5)

    assert told == [1]


async def test_after_redis_was_emptied_it_is_heard_again(queue: JobQueue, redis: ArqRedis) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    async with open_cancels(redis) as cancels:
        with cancels.when_canceled(7, 1, first.set), cancels.when_canceled(8, 1, second.set):
            await queue.cancel(7, 1)
            await asyncio.wait_for(first.wait(), 5)
            await redis.flushall()
            await asyncio.sleep(0.01)  # a stream that begins anew knows what comes later by the millisecond only
            await queue.cancel(8, 1)
            await asyncio.wait_for(second.wait(), 5)


async def test_the_pauses_after_errors_grow_up_to_a_bound(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = list[float]()

    async def gone(*_arguments: object, **_options: object) -> None:
        raise RedisConnectionError("gone")

    async def noted(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 9:
            raise StopAsyncIteration

    monkeypatch.setattr(redis, "xread", gone)
    monkeypatch.setattr(module.asyncio, "sleep", noted)
    with pytest.raises(StopAsyncIteration):
        await Cancels(redis).listen_for_ever()

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]


async def test_cancels_are_forgotten(queue: JobQueue, redis: ArqRedis) -> None:
    await queue.cancel(7, 1)

    assert [(key, 0 < await redis.ttl(key) <= LIFE_S) for key in await redis.keys()] == [(CANCELS.encode(), True)]


async def test_a_worker_remembers_a_bounded_number(
    queue: JobQueue, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LAST", 3)
    last = asyncio.Event()
    async with open_cancels(redis) as cancels:
        with cancels.when_canceled(9, 1, last.set):
            for job_id in range(10):
                await queue.cancel(job_id, 1)
            await asyncio.wait_for(last.wait(), 5)

        assert list(cancels._heard) == ["7:1", "8:1", "9:1"]


async def _reading(redis: ArqRedis, number: int) -> bool:
    return await readers(redis) == number


async def _is_empty(errors: list[RedisConnectionError]) -> bool:
    return not errors
