"""What forecasts are made of, as it is measured."""

import pytest
from arq.connections import ArqRedis

from jobs.ability import Ability
from jobs.job import Range
from jobs.need import Need
from jobs.storage.job_queue import PROMISES, JobQueue
from jobs.storage.job_store import Waiting
from jobs.storage.outlook_board import ALIVE_S, FORGOTTEN_S, WORKERS, Member, OutlookBoard
from jobs.turn import Turn
from tests.pools import ABLE, MEMBER, POOL


class Seconds:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.time = 1_777_636_800.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Seconds:
    return Seconds()


@pytest.fixture
def board(redis: ArqRedis, clock: Seconds) -> OutlookBoard:
    return OutlookBoard(redis, clock)


@pytest.fixture
def queue(redis: ArqRedis, clock: Seconds) -> JobQueue:
    return JobQueue(redis, clock)


async def test_workers_are_counted_while_they_tell_of_themselves(
    board: OutlookBoard, clock: Seconds, redis: ArqRedis
) -> None:
    await board.tell("old", **MEMBER)
    clock.time += ALIVE_S
    await board.tell("new", **MEMBER)

    both, clock.time = (await board.read()).workers, clock.time + 1
    one = (await board.read()).workers
    clock.time += FORGOTTEN_S - ALIVE_S
    await board.read()

    assert (both, one) == (2, 1)
    assert await redis.hkeys(WORKERS) == [b"new"]
    await board.forget("new")
    assert (await board.read()).workers == 0


@pytest.mark.parametrize("told", [b"1 2 3 4", b"soon", b"", b"{}", b"1e12 0 0 test 1a2b drunk"])
async def test_what_another_version_tells_is_passed_over(board: OutlookBoard, redis: ArqRedis, told: bytes) -> None:
    await board.tell("new", **MEMBER)
    await redis.hset(WORKERS, "other", told)

    assert (await board.read()).workers == 1
    assert await board.alive() == {"new": Member(POOL, is_at_work=False, is_paused=False)}


async def test_a_busy_worker_is_free_when_its_job_should_be_done_or_soon(board: OutlookBoard, clock: Seconds) -> None:
    await board.tell("one", **MEMBER, busy_s=4, cost_s=10)
    after_four = (await board.read()).pools[POOL].raw_start_s(0)
    await board.tell("one", **MEMBER, busy_s=400, cost_s=10)
    overdue = (await board.read()).pools[POOL].raw_start_s(0)
    await board.tell("one", **MEMBER)
    idle = await board.read()

    # What is late is expected to take a fifth of its time once more.
    assert (after_four, overdue) == (pytest.approx(6), pytest.approx(80))
    assert (idle.pools[POOL].raw_start_s(0), idle.busy_workers, idle.workers) == (0, 0, 1)


async def test_durations_are_those_of_the_last_hundred_of_a_kind(board: OutlookBoard) -> None:
    for _ in range(50):
        await board.measured(("sd", 9.0))
    for factor in range(1, 101):
        await board.measured(("sd", factor))
    await board.measured(("xl", 1000.0))

    outlook = await board.read()

    # Of 1 to 100 the mean is 50.5, and the 51st and 91st are what so many, and one more to come, are not over.
    assert outlook.factor("sd") == 50.5
    length = outlook.running(0, "sd", 50.5, 0).ends_in
    assert (length.p50, length.p90) == (pytest.approx(51), pytest.approx(91))
    # After 90, 91 to 100 are left: the sixth and the last.
    late = outlook.running(0, "sd", 50.5, 90).ends_in
    assert (late.p50, late.p90) == (pytest.approx(6), pytest.approx(10))
    assert outlook.factor("xl") == 1000
    assert outlook.factor("never seen") == pytest.approx((sum(range(2, 101)) + 1000) / 100)


async def test_a_start_is_compared_with_what_was_told_of_it(
    board: OutlookBoard, queue: JobQueue, clock: Seconds, redis: ArqRedis
) -> None:
    await queue.add([Waiting(i, 1, 1.0, Turn(1, 1.0), pool=POOL) for i in (1, 2, 3)])
    await queue.promise([(i, 4.0, Range(5.0, 8.0)) for i in (1, 2, 3, 99)])
    for job_id, waited_s in ((1, 5.0), (2, 9.0)):
        clock.time += waited_s - (5 if job_id == 2 else 0)
        await queue.start((job_id, 1))
    await queue.cancel(3, 0)

    calibration = (await board.read()).calibration()

    assert (calibration.starts, calibration.before_p50, calibration.before_p90) == (2, 0.5, 0.5)
    assert await redis.exists(PROMISES) == 0


async def test_a_start_that_comes_before_what_is_told_of_it_is_compared_too(
    board: OutlookBoard, queue: JobQueue, redis: ArqRedis
) -> None:
    await queue.add([Waiting(i, 1, 1.0, Turn(1, 1.0)) for i in (1, 2)])
    await queue.start((1, 1))
    await queue.remove((2, 1))

    await queue.promise([(i, 4.0, Range(5.0, 8.0)) for i in (1, 2, 99)])
    await queue.promise([(1, 4.0, Range(5.0, 8.0))])

    calibration = (await board.read()).calibration()
    assert (calibration.starts, calibration.before_p50) == (1, 1.0)
    assert await redis.exists(PROMISES) == 0


async def test_the_time_is_that_of_redis_and_not_of_a_machine(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    async def its_time() -> tuple[int, int]:
        return 1000, 500_000

    board = OutlookBoard(redis)
    monkeypatch.setattr(redis, "time", its_time)
    await board.tell("one", **MEMBER, busy_s=2, cost_s=10)

    assert (await redis.hget(WORKERS, "one")).startswith(b"1000.500 998.500 ")
    assert list(await board.alive()) == ["one"]


async def test_the_last_starts_of_each_length_of_wait_are_kept(board: OutlookBoard, queue: JobQueue) -> None:
    for first, raw_s in ((0, 1e6), (200, 0.0), (400, 0.0)):
        ids = range(first, first + 200)
        await queue.add([Waiting(i, 1, 1.0, Turn(1, 1.0), pool=POOL) for i in ids])
        await queue.promise([(i, raw_s, Range(raw_s, raw_s)) for i in ids])
        for job_id in ids:
            await queue.start((job_id, 1))

    assert (await board.read()).calibration().starts == 2 * 150


async def test_the_work_of_those_who_stand_at_the_front_is_counted_by_the_second(
    board: OutlookBoard, queue: JobQueue, clock: Seconds, redis: ArqRedis
) -> None:
    await board.tell("one", **MEMBER)
    await board.read()
    # Account 1 sends a burst, of which the first stands at the front; accounts 2 and 3 a job each: 30 s of 50.
    await queue.add([Waiting(i, 1, 10.0, Turn(account, 10.0), pool=POOL) for i, account in enumerate([1, 1, 1, 2, 3])])
    clock.time += 100
    await board.tell("one", **MEMBER)
    (ahead,) = await queue.places([(2, 1)])

    outlook = await board.read()

    # 0.3 of the worker is others', so that what takes 21 s takes 30.
    assert ahead is not None and ahead.ahead_s == pytest.approx(20, abs=0.01)
    assert outlook.pools[POOL].raw_start_s(21, ahead.ahead_s) == pytest.approx(30)
    assert outlook.pools[POOL].raw_start_s(21) == pytest.approx(21)
    await redis.flushall()
    await board.tell("one", **MEMBER)
    assert (await board.read()).pools[POOL].raw_start_s(21, 20) == pytest.approx(21)


async def test_a_paused_worker_is_alive_and_counts_for_no_start(board: OutlookBoard) -> None:
    await board.tell("taking", **MEMBER)
    await board.tell("paused", **MEMBER, is_paused=True)
    both = (await board.read()).pools[POOL]
    await board.tell("taking", **MEMBER, busy_s=1, cost_s=2, is_paused=True)
    none = (await board.read()).pools[POOL]

    assert (both.workers, both.paused, none.workers, none.paused) == (1, 1, 0, 2)
    assert await board.alive() == {
        "taking": Member(POOL, is_at_work=True, is_paused=True),
        "paused": Member(POOL, is_at_work=False, is_paused=True),
    }


async def test_of_a_pool_those_count_that_take_jobs_and_where_none_does_all(board: OutlookBoard) -> None:
    less = Ability(ABLE.stages, {})
    await board.tell("less", pool=POOL, ability=less, is_paused=True)
    assert (await board.read()).missing(Need(("101",), ()))

    await board.tell("able", **MEMBER)

    assert (await board.read()).missing(Need(("101",), ())) == ()


async def test_what_was_measured_since_the_last_look_is_read_and_what_is_lost_forgotten(
    board: OutlookBoard, redis: ArqRedis
) -> None:
    await board.measured(("sd", 2.0), ("xl", 3.0))
    await board.read()
    await board.measured(("sd", 4.0))

    later = await board.read()

    assert (later.factor("sd"), later.factor("xl")) == (3.0, 3.0)
    await redis.flushall()
    assert (await board.read()).factor("sd") == 1.0
