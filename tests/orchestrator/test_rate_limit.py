"""Rates of accounts as clients see them."""

import asyncio

import pytest
import structlog
from arq.connections import ArqRedis

from jobs.account import RateLimit
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.redis_connection import open_redis
from orchestrator import rate_limit as module
from orchestrator.app import WebOptions
from tests.jobs.storage.test_rate_buckets import pass_time
from tests.orchestrator.conftest import Api, open_api

LIMIT = RateLimit(per_s=0.5, burst=2)
NAMES = ("RateLimit-Policy", "RateLimit", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset")


async def limit(database: Database, api: Api, limit: RateLimit = LIMIT) -> None:
    """Before the first request: what an account may do is remembered for a while."""
    accounts = AccountStore(database)
    _, grant = await accounts.grant_of(api.key)
    await accounts.set_rate_limit(grant.account.id, limit)


async def get(api: Api) -> tuple[int, dict[str, str]]:
    async with api.client.get("/v1/jobs/1", headers={"Authorization": f"Bearer {api.key}"}) as response:
        return response.status, {name: response.headers[name] for name in NAMES if name in response.headers}


async def test_every_answer_says_what_is_left(api: Api, database: Database) -> None:
    await limit(database, api)

    answers = [await get(api) for _ in range(3)]

    assert [status for status, _ in answers] == [404, 404, 429]
    assert [headers["RateLimit"] for _, headers in answers] == [
        '"account";r=1;t=2',
        '"account";r=0;t=2',
        '"account";r=0;t=2',
    ]
    # The whole burst of 2 is back after 2 / 0.5 s.
    assert answers[0][1]["RateLimit-Policy"] == '"account";q=2;w=4'
    assert [answers[0][1][f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")] == ["2", "1", "2"]


async def test_a_refusal_says_when_to_come_again(api: Api, database: Database) -> None:
    await limit(database, api, RateLimit(per_s=0.5, burst=1))
    await get(api)

    async with api.client.post("/v1/jobs", headers={"Authorization": f"Bearer {api.key}"}) as response:
        answer = await response.json()

    assert (response.status, answer["code"], response.headers["Retry-After"]) == (429, 8, "2")
    (retry_info,) = answer["details"]
    assert retry_info["@type"] == "type.googleapis.com/google.rpc.RetryInfo"
    assert 1 < float(retry_info["retryDelay"].removesuffix("s")) <= 2
    assert "0.5 requests a second, 1 at once" in answer["message"]


async def test_after_that_time_it_is_served_again(api: Api, database: Database, redis: ArqRedis) -> None:
    await limit(database, api)
    assert [(await get(api))[0] for _ in range(3)] == [404, 404, 429]

    await pass_time(redis, 2)

    assert [(await get(api))[0] for _ in range(2)] == [404, 429]


async def test_the_keys_of_an_account_and_its_web_processes_count_together(
    options: WebOptions, database: Database, redis: ArqRedis, api: Api
) -> None:
    await limit(database, api)
    accounts = AccountStore(database)
    _, grant = await accounts.grant_of(api.key)
    second_key = Api(api.client, await accounts.new_key(grant.account.id))

    async with open_api(options, database, redis) as elsewhere:
        elsewhere.key = api.key
        statuses = [(await get(each))[0] for each in (api, second_key, elsewhere)]

    assert statuses == [404, 404, 429]


async def test_an_account_without_a_limit_is_told_none_and_asks_redis_for_nothing(
    api: Api, other: Api, database: Database, redis: ArqRedis
) -> None:
    await limit(database, api)
    for _ in range(3):
        await get(api)

    assert await get(other) == (404, {})
    assert len(await redis.keys("darkroom:rate:*")) == 1


async def test_while_redis_is_away_all_are_served_and_the_log_says_so_once(
    options: WebOptions, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ASK_AGAIN_AFTER_S", 0)
    async with open_redis("redis://127.0.0.1:1") as nowhere, open_api(options, database, nowhere) as api:
        await limit(database, api)
        with structlog.testing.capture_logs() as lines:
            answers = [await get(api) for _ in range(5)]

    assert answers == [(404, {})] * 5
    assert [line["event"] for line in lines].count("rates_not_limited") == 1


async def test_a_redis_that_hangs_is_waited_for_once_and_not_at_each_request(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with open_api(options, database, redis) as api:
        await limit(database, api)
        await get(api)
        await redis.client_pause(3000)
        async with asyncio.timeout(2):
            answers = [await get(api) for _ in range(8)]

    assert answers == [(404, {})] * 8
