import asyncio
from datetime import timedelta

from arq.connections import ArqRedis

from jobs.storage.nonces import Nonces

MINUTE = timedelta(minutes=1)


async def test_of_many_at_once_one_is_the_first(redis: ArqRedis) -> None:
    nonces = Nonces(redis)

    answers = await asyncio.gather(*(nonces.use("app", "n-1", MINUTE) for _ in range(20)))

    assert sorted(answers) == [False] * 19 + [True]


async def test_apps_do_not_share_nonces(redis: ArqRedis) -> None:
    nonces = Nonces(redis)

    assert [await nonces.use(app, "n-1", MINUTE) for app in ("one", "two")] == [True, True]


async def test_a_nonce_is_kept_for_its_life_and_no_longer(redis: ArqRedis) -> None:
    await Nonces(redis).use("app", "n-1", MINUTE)

    (key,) = await redis.keys("*nonce*")

    assert 50 < await redis.ttl(key) <= 60
