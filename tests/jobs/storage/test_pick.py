"""What a worker is given to claim: the first of the line, and several where all are short."""

import asyncio
from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from jobs.pool import NOBODY
from jobs.storage import job_queue
from jobs.storage.job_queue import PICK_MOST, WORK, JobQueue
from jobs.storage.job_store import Waiting
from jobs.storage.pauses import Pauses, of_pool
from jobs.turn import Turn


@pytest.fixture
def queue(redis: ArqRedis) -> JobQueue:
    return JobQueue(redis)


async def line(queue: JobQueue, *costs_s: float) -> None:
    """Jobs from 1 on, of one account."""
    await queue.add([Waiting(i, 1, cost_s, Turn(1, share=1.0)) for i, cost_s in enumerate(costs_s, start=1)])


async def picked(queue: JobQueue, worker: str = "one:1") -> list[int] | None:
    attempts = await queue.pick(worker, NOBODY, {}, 0.0)
    return None if attempts is None else [job_id for job_id, _ in attempts]


async def test_each_is_given_the_first_that_no_other_was_given(queue: JobQueue) -> None:
    await line(queue, 1.0, 1.0, 1.0)

    assert [await picked(queue, worker) for worker in ("one:1", "two:2", "one:1", "two:2")] == [[1], [2], [3], []]


@pytest.mark.parametrize(
    ("costs_s", "first"),
    [
        ([0.05, *[0.0] * 9], [1]),
        # 20 + 20 are not yet 50, and 60 are.
        ([0.02] * 10, [1, 2, 3]),
        # The long one ends it.
        ([0.01, 0.01, 9.0, *[0.0] * 7], [1, 2, 3]),
        # Half of them, so that others have some too.
        ([0.0] * 5, [1, 2, 3]),
        ([0.0, 0.0], [1]),
        ([0.0] * 100, list(range(1, PICK_MOST + 1))),
    ],
)
async def test_several_are_given_while_all_are_short(queue: JobQueue, costs_s: list[float], first: list[int]) -> None:
    await line(queue, *costs_s)

    assert await picked(queue) == first


async def test_where_less_time_is_needed_than_was_foretold_more_are_given(queue: JobQueue) -> None:
    await line(queue, *[1.0] * 20)

    # A hundredth of a second each.
    assert await queue.pick("one:1", NOBODY, {}, 0.0, share=0.01) == [(job_id, 1) for job_id in range(1, 6)]


async def test_the_attempt_is_told(queue: JobQueue) -> None:
    await queue.add([Waiting(7, 3, 1.0, turn=None)])

    assert await queue.pick("one:1", NOBODY, {}, 0.0) == [(7, 3)]


async def test_what_was_given_keeps_its_place_until_it_is_claimed_and_is_given_again_if_it_never_is(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_queue, "PICK_LASTS", timedelta(seconds=0.2))
    await line(queue, 1.0, 1.0)
    await queue.pick("one:1", NOBODY, {}, 0.0)

    at_once, places = await picked(queue), await queue.places([(1, 1)])
    await asyncio.sleep(0.25)

    assert (at_once, await picked(queue)) == ([2], [1])
    assert [place and place.rank for place in places] == [1]


async def test_what_was_claimed_leaves_nothing_behind(queue: JobQueue, redis: ArqRedis) -> None:
    await line(queue, 1.0)
    await queue.pick("one:1", NOBODY, {}, 0.0)

    await queue.start((1, 1))

    assert await redis.keys("arq:*") == []
    assert await queue.length() == 0


async def test_several_leave_the_line_as_if_they_did_one_by_one(queue: JobQueue, redis: ArqRedis) -> None:
    await line(queue, 1.0, 2.0, 4.0)

    await queue.start((1, 1), (99, 1), (2, 1))

    assert await queue.length() == 1
    assert await redis.hgetall(WORK) == {NOBODY.encode(): b"4000"}


@pytest.mark.parametrize(
    ("paused", "is_given"),
    [("*", False), ("one:1", False), ("two:2", True), (of_pool(NOBODY), False), (of_pool("b"), True)],
)
async def test_a_paused_worker_is_given_nothing(queue: JobQueue, redis: ArqRedis, paused: str, is_given: bool) -> None:
    await line(queue, 1.0)
    await Pauses(redis).pause(paused)

    assert await picked(queue) == ([1] if is_given else None)
