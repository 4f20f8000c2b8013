"""The order of waiting jobs, and each one's exact place in it."""

import random

import pytest
from arq.connections import ArqRedis

from jobs.job import QueuePlace
from jobs.pool import NOBODY
from jobs.storage.job_queue import ENTRIES, PATIENCE, PICK_MOST, WAKE, JobQueue
from jobs.storage.job_store import Waiting
from jobs.turn import Turn


@pytest.fixture
def queue(redis: ArqRedis) -> JobQueue:
    return JobQueue(redis)


def waiting(*job_ids: int) -> list[Waiting]:
    """Of one account, and of a second each."""
    return [Waiting(job_id, 1, 1.0, Turn(1, share=1.0)) for job_id in job_ids]


def place(rank: int, length: int) -> QueuePlace:
    """Where all that wait take a second each."""
    return QueuePlace(rank=rank, length=length, work_before_s=rank - 1)


async def test_places_are_exact_from_one(queue: JobQueue) -> None:
    assert await queue.add(waiting(1, 2, 3)) == [place(i, 3) for i in (1, 2, 3)]


async def test_jobs_of_one_account_stand_as_they_came_whatever_their_ids(queue: JobQueue) -> None:
    ids = random.Random(1).sample(range(1, 201), 200)
    for job_id in ids:
        await queue.add(waiting(job_id))

    places = await queue.places((job_id, 1) for job_id in ids)

    assert places == [place(i, 200) for i in range(1, 201)]


async def test_ranks_of_a_batch_follow_the_batch(queue: JobQueue) -> None:
    await queue.add(waiting(2))

    assert [each.rank for each in await queue.add(waiting(3, 2, 1))] == [2, 1, 3]


async def test_the_work_before_a_job_is_summed_up_and_far_behind_it_is_the_mean_of_the_rest(queue: JobQueue) -> None:
    # The first 64 take 2 s each, the 36 behind them 1 s and 3 s in turns.
    costs = [2.0] * 64 + [1.0, 3.0] * 18
    await queue.add([Waiting(i, 1, cost, Turn(1, share=cost)) for i, cost in enumerate(costs)])

    places = await queue.places([(0, 1), (10, 1), (64, 1), (70, 1), (99, 1)])

    assert [each and each.work_before_s for each in places] == [0, 20, 128, 128 + 6 * 2, 128 + 35 * 2]


async def test_a_job_that_is_queued_keeps_its_place(queue: JobQueue) -> None:
    await queue.add(waiting(1, 2))

    again = await queue.add(waiting(1))
    third = await queue.add(waiting(3))

    assert (again, third) == ([place(1, 2)], [place(3, 3)])


async def test_a_job_once_removed_has_no_place_and_its_next_attempt_has(queue: JobQueue) -> None:
    await queue.add(waiting(1, 2))

    await queue.remove((1, 1))
    await queue.remove((1, 1))

    assert await queue.places([(1, 1), (2, 1)]) == [None, place(1, 1)]
    assert await queue.add([Waiting(1, 2, 1.0, turn=None)]) == [place(1, 2)]


async def test_a_canceled_job_leaves_nothing_in_the_queue(queue: JobQueue, redis: ArqRedis) -> None:
    await queue.add(waiting(1, 2))

    await queue.cancel(1, 0)

    assert await queue.places([(1, 1), (2, 1)]) == [None, place(1, 1)]
    assert await redis.hkeys(ENTRIES) == [b"2:1"]


async def test_adding_nothing_changes_nothing(queue: JobQueue) -> None:
    assert await queue.add([]) == []


async def test_only_new_jobs_wake_workers_and_tokens_do_not_pile_up(queue: JobQueue, redis: ArqRedis) -> None:
    await queue.add(waiting(1, 2))
    await queue.add(waiting(1, 2))
    few = await redis.llen(WAKE + NOBODY)
    await queue.add(waiting(*range(3, 103)))

    assert few == 2
    assert await redis.llen(WAKE + NOBODY) == 32


async def test_an_emptied_redis_is_another_epoch(queue: JobQueue, redis: ArqRedis) -> None:
    unfilled = await queue.epoch()
    await queue.mark_filled()
    filled = await queue.epoch()

    assert unfilled is None
    assert filled is not None and filled == await queue.epoch()

    await redis.flushall()
    assert await queue.epoch() is None

    await queue.mark_filled()
    assert await queue.epoch() not in (None, filled)


async def test_it_works_after_redis_forgot_its_scripts(queue: JobQueue, redis: ArqRedis) -> None:
    await queue.add(waiting(1))
    await redis.script_flush()

    assert await queue.add(waiting(2)) == [place(2, 2)]


def of_model(job_id: int, model: str, turn: Turn) -> Waiting:
    return Waiting(job_id, 1, 1.0, turn, f"{model}|")


async def picked(queue: JobQueue, loading_s: dict[str, float], otherwise_s: float) -> list[int]:
    """The jobs in the order in which a worker is given them."""
    order: list[int] = []
    while given := await queue.pick("one:1", NOBODY, loading_s, otherwise_s):
        order += [job_id for job_id, _ in given]
    return order


async def test_a_job_is_put_off_for_all_that_must_be_loaded_or_merged_for_it(queue: JobQueue) -> None:
    line = [of_model(1, "a 7 8", Turn(1, 1.0)), of_model(2, "a 7", Turn(2, 1.0)), of_model(3, "a 9", Turn(3, 1.0))]
    await queue.add(line)

    # 7 is merged, 8 takes a second, and of 9 nothing is known.
    assert await picked(queue, {"a": 0.0, "7": 0.0, "8": 1.0}, 1.0) == [2, 3, 1]


async def test_a_worker_is_given_what_it_has_loaded_before_what_it_would_have_to_load(queue: JobQueue) -> None:
    await queue.add([of_model(1, "a", Turn(1, 1.0)), of_model(2, "b", Turn(2, 1.0)), of_model(3, "b", Turn(3, 1.0))])

    assert await picked(queue, {"b": 0.0}, 1.0) == [2, 3, 1]


async def test_where_all_is_loaded_or_nothing_is_the_order_is_the_line_s(queue: JobQueue, redis: ArqRedis) -> None:
    for loading_s, otherwise_s in (({}, 0.0), ({}, 5.0), ({"a": 0.0, "b": 0.0, "c": 0.0}, 5.0)):
        await redis.flushall()
        await queue.add([of_model(i, model, Turn(i, 1.0)) for i, model in enumerate("abcab", start=1)])

        assert await picked(queue, loading_s, otherwise_s) == [1, 2, 3, 4, 5]


async def test_no_job_is_put_off_for_longer_than_its_loading_is_worth(queue: JobQueue) -> None:
    await queue.add([of_model(1, "a", Turn(1, 1.0))] + [of_model(i, "b", Turn(2, 1.0)) for i in range(2, 9)])

    # Those of the second account follow each other at the distance of a virtual second.
    assert (await picked(queue, {"b": 0.0}, 0.5)).index(1) == PATIENCE * 0.5


async def test_a_worker_looks_for_what_it_has_loaded_at_the_head_of_the_line_only(queue: JobQueue) -> None:
    assert await picked(queue, {}, 1.0) == []
    await queue.add([of_model(i, "a", Turn(i, 1.0)) for i in range(1, PICK_MOST + 1)])
    await queue.add([of_model(99, "b", Turn(99, 1.0))])

    assert (await picked(queue, {"b": 0.0}, 100.0))[-1] == 99


async def test_short_jobs_do_not_wait_for_one_whose_model_must_be_loaded(queue: JobQueue) -> None:
    short = [of_model(i, model, Turn(i, 0.001))._replace(cost_s=0.001) for i, model in enumerate("bbabbbbb", start=1)]
    await queue.add(short)

    given = [await queue.pick("one:1", NOBODY, {"b": 0.0}, 1.0) for _ in range(3)]

    assert given == [[(1, 1), (2, 1), (4, 1), (5, 1)], [(6, 1), (7, 1), (8, 1)], [(3, 1)]]


async def test_any_number_of_jobs_is_queued_at_once(queue: JobQueue) -> None:
    places = await queue.add(waiting(*range(1, 5001)))

    assert [place.rank for place in places] == list(range(1, 5001))
