"""A connection of one's own: an answer is taken for no other call's, and a lost connection is made anew."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from arq.connections import ArqRedis
from redis.asyncio import Redis

from jobs.storage.redis_connection import open_direct


@pytest.fixture
async def direct(redis: ArqRedis) -> AsyncIterator[Redis]:
    async with open_direct(redis) as opened:
        yield opened


async def test_a_connection_that_the_server_closed_is_made_anew(redis: ArqRedis, direct: Redis) -> None:
    await redis.client_kill_filter(_id=str(await direct.client_id()))

    await direct.set("name", "value")

    assert await redis.get("name") == b"value"


async def test_the_answer_to_a_call_that_was_given_up_is_no_other_calls(redis: ArqRedis, direct: Redis) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await direct.blpop(["list"], timeout=5)
    await redis.rpush("list", "late")

    assert await direct.echo("next") == b"next"


async def test_calls_at_once_each_get_their_own_answer(direct: Redis) -> None:
    texts = [f"text {i}".encode() for i in range(50)]

    assert await asyncio.gather(*(direct.echo(text) for text in texts)) == texts
