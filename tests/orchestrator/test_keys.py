"""What a key may do, and for how long, as clients of the web process see it."""

from collections.abc import AsyncIterator, Collection
from datetime import timedelta
from typing import Any

import pytest
import structlog
from arq.connections import ArqRedis

from jobs.account import ALL_SCOPES
from jobs.storage.account_store import AccountStore, KeyRecord
from jobs.storage.database import Database
from orchestrator.app import WebOptions
from orchestrator.authentication import REMEMBER
from tests.orchestrator.clock import Clock
from tests.orchestrator.conftest import Api, body, open_api

ENDPOINTS = {
    "jobs:write": ("POST", "/v1/jobs"),
    "jobs:read": ("GET", "/v1/jobs/1"),
    "resources:write": ("POST", "/v1/resource/image"),
}


@pytest.fixture
def accounts(database: Database) -> AccountStore:
    return AccountStore(database)


async def scoped(api: Api, accounts: AccountStore, scopes: Collection[str]) -> Api:
    account = await accounts.ensure("scoped")
    return Api(api.client, await accounts.new_key(account.id, scopes=scopes))


async def record_of(accounts: AccountStore, api: Api) -> KeyRecord:
    (record,) = [key for key in await accounts.keys() if api.key.startswith(key.prefix)]
    return record


async def allowed(api: Api) -> bool:
    status, _ = await api.call("GET", "/v1/jobs/1")
    assert status in (401, 404)
    return status == 404


@pytest.mark.parametrize("given", [*({scope} for scope in ENDPOINTS), set(), set(ENDPOINTS)])
async def test_a_key_does_what_its_scopes_say_and_nothing_else(
    api: Api, accounts: AccountStore, given: set[str]
) -> None:
    client = await scoped(api, accounts, given)

    for scope, (method, path) in ENDPOINTS.items():
        status, answer = await client.call(method, path, data=b"{}")
        if scope in given:
            assert status != 403, answer
        else:
            assert (status, answer["code"]) == (403, 7)
            assert repr(scope) in answer["message"]


def test_each_scope_has_its_endpoint_here() -> None:
    assert set(ENDPOINTS) == ALL_SCOPES


async def test_a_revoked_key_works_for_as_long_as_it_is_remembered_and_no_longer(
    clock: Clock, api: Api, accounts: AccountStore
) -> None:
    assert await allowed(api)
    await accounts.revoke_key((await record_of(accounts, api)).id)

    assert await allowed(api)
    clock.advance(REMEMBER)
    assert not await allowed(api)


async def test_a_clock_that_is_set_back_does_not_lengthen_the_memory(
    clock: Clock, api: Api, accounts: AccountStore
) -> None:
    assert await allowed(api)
    await accounts.revoke_key((await record_of(accounts, api)).id)

    clock.advance(timedelta(hours=-1))

    assert not await allowed(api)


async def test_a_key_revoked_before_it_was_seen_never_works(api: Api, accounts: AccountStore) -> None:
    await accounts.revoke_key((await record_of(accounts, api)).id)

    assert not await allowed(api)


async def test_of_a_rotated_key_both_work_until_the_overlap_is_over(
    clock: Clock, api: Api, accounts: AccountStore, database: Database
) -> None:
    old = await record_of(accounts, api)
    new = Api(api.client, await accounts.rotate_key(old.id, timedelta(hours=1)))
    assert [await allowed(client) for client in (api, new)] == [True, True]

    async with database.connection() as connection:
        await connection.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", old.id)
    clock.advance(REMEMBER)

    assert [await allowed(client) for client in (api, new)] == [False, True]


async def test_keys_of_one_account_see_the_same_jobs(api: Api, accounts: AccountStore) -> None:
    old = await record_of(accounts, api)
    new = Api(api.client, await accounts.rotate_key(old.id, timedelta(hours=1)))
    _, answer = await api.post_job(body())

    assert (await new.job(answer["job"]["id"]))["status"] == "WAITING"


async def test_a_job_has_the_priority_and_the_weight_of_its_account(
    clock: Clock, api: Api, other: Api, accounts: AccountStore, database: Database
) -> None:
    account = await accounts.named((await record_of(accounts, other)).account)
    await accounts.set_priority(account.id, 5)
    await accounts.set_weight(account.id, 2)

    first, second = [await each.post_job(body()) for each in (api, other)]

    assert [answer["job"]["waitingInfo"]["queueRank"] for _, answer in (first, second)] == ["1", "1"]
    assert (await api.job(first[1]["job"]["id"]))["waitingInfo"]["queueRank"] == "2"
    async with database.connection() as connection:
        row = await connection.fetchrow("SELECT weight, priority FROM jobs WHERE account_id = $1", account.id)
    assert tuple(row) == (2, 5)


@pytest.fixture
async def closed(
    clock: Clock, options: WebOptions, database: Database, redis: ArqRedis, accounts: AccountStore
) -> AsyncIterator[Any]:
    """A web process that was used and then stopped, and the moment of the use."""
    async with open_api(options, database, redis) as api:
        await api.call("GET", "/v1/jobs/1")
        assert (await record_of(accounts, api)).last_used_at is None  # not at each request
    yield api, clock()


async def test_the_last_use_is_written_by_the_end_at_the_latest(closed: Any, accounts: AccountStore) -> None:
    api, at = closed

    last_used_at = (await record_of(accounts, api)).last_used_at

    assert abs(last_used_at - at) < timedelta(seconds=30)


async def test_the_last_use_of_a_refused_key_is_not_noted(
    clock: Clock, options: WebOptions, database: Database, redis: ArqRedis, accounts: AccountStore
) -> None:
    async with open_api(options, database, redis) as api:
        await accounts.revoke_key((await record_of(accounts, api)).id)
        await api.call("GET", "/v1/jobs/1")

    assert (await record_of(accounts, api)).last_used_at is None


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer dk_wrong", "TAMS-SHA256-RSA x"])
async def test_a_refusal_says_how_to_authenticate(api: Api, header: str) -> None:
    async with api.client.get("/v1/jobs/1", headers={"Authorization": header}) as response:
        answer = await response.json()

    assert (response.status, answer["code"]) == (401, 16)
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="darkroom", TAMS-SHA256-RSA'


async def test_a_key_is_in_no_log(api: Api) -> None:
    with structlog.testing.capture_logs() as lines:
        await api.post_job(body())
        await api.call("GET", "/v1/jobs/1")
        await Api(api.client, "dk_a_wrong_key").post_job(body())

    assert [line["event"] for line in lines] == ["request_answered"]
    assert api.key not in repr(lines) and "dk_" not in repr(lines)
