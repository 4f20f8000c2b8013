"""Rates, on a real Redis: the bucket is moved into the past where time must pass."""

import asyncio

import pytest
from arq.connections import ArqRedis

from jobs.account import RateLimit
from jobs.storage.rate_buckets import RateBuckets

SLOW = RateLimit(per_s=0.5, burst=3)


@pytest.fixture
def buckets(redis: ArqRedis) -> RateBuckets:
    return RateBuckets(redis)


async def pass_time(redis: ArqRedis, seconds: float) -> None:
    """As if each bucket had been used that much earlier."""
    for key in await redis.keys("darkroom:rate:*"):
        await redis.decrby(key, int(seconds * 1_000_000))


async def test_a_full_bucket_gives_its_burst_and_then_refuses(buckets: RateBuckets) -> None:
    answers = [await buckets.take(1, SLOW) for _ in range(5)]

    assert [(answer.is_refused, answer.remaining) for answer in answers] == [
        (False, 2),
        (False, 1),
        (False, 0),
        (True, 0),
        (True, 0),
    ]
    # One request comes back after 1 / 0.5 s; what was refused has cost nothing.
    assert all(1.5 < answer.wait_s <= 2 for answer in answers)


async def test_requests_come_back_one_by_one(buckets: RateBuckets, redis: ArqRedis) -> None:
    for _ in range(3):
        await buckets.take(1, SLOW)

    await pass_time(redis, 2)
    after_one = [(await buckets.take(1, SLOW)).is_refused for _ in range(2)]
    await pass_time(redis, 4)
    after_two = [(await buckets.take(1, SLOW)).is_refused for _ in range(3)]

    assert (after_one, after_two) == ([False, True], [False, False, True])


async def test_a_long_rest_gives_no_more_than_the_burst(buckets: RateBuckets, redis: ArqRedis) -> None:
    await buckets.take(1, SLOW)

    await pass_time(redis, 3600)

    assert [(await buckets.take(1, SLOW)).is_refused for _ in range(4)] == [False, False, False, True]


async def test_many_processes_share_one_bucket_and_accounts_do_not(redis: ArqRedis) -> None:
    web = [RateBuckets(redis) for _ in range(4)]

    ours = await asyncio.gather(*(web[i % 4].take(1, SLOW) for i in range(12)))

    assert sum(not answer.is_refused for answer in ours) == 3
    assert not (await web[0].take(2, SLOW)).is_refused


async def test_a_bucket_that_is_full_again_is_not_kept(buckets: RateBuckets, redis: ArqRedis) -> None:
    await buckets.take(1, SLOW)

    assert 0 < await redis.pttl("darkroom:rate:1") <= 2000


@pytest.mark.parametrize("limit", [RateLimit(per_s=0.001, burst=1_000_000), RateLimit(per_s=100_000, burst=1)])
async def test_the_widest_limits_can_be_counted(buckets: RateBuckets, limit: RateLimit) -> None:
    answers = [await buckets.take(1, limit) for _ in range(2)]

    assert not answers[0].is_refused and answers[0].remaining == limit.burst - 1
