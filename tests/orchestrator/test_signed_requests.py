"""TAMS-SHA256-RSA from the outside: requests signed by a client's own code, and everything that may be wrong."""

import asyncio
import base64
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from yarl import URL

from jobs.account import ALL_SCOPES
from jobs.dialects.tams_signature import written_key
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.database import Database
from jobs.storage.redis_connection import open_redis
from orchestrator.app import WebOptions
from orchestrator.authentication import REMEMBER
from tests.orchestrator.clock import Clock
from tests.orchestrator.conftest import MAX_BODY_BYTES, Api, body, open_api


@dataclass
class App:
    """Signs as a client does, and sends what a test tells it to."""

    api: Api
    id: str
    private_key: RSAPrivateKey
    clock: Clock

    def header(self, method: str, url: str, content: bytes, **changes: str) -> str:
        parts = {"nonce_str": uuid4().hex, "timestamp": str(int(self.clock().timestamp()))} | changes
        text = f"{method}\n{url}\n{parts['timestamp']}\n{parts['nonce_str']}\n".encode() + content
        signature = base64.b64encode(self.private_key.sign(text, PKCS1v15(), SHA256())).decode()
        parts = {"app_id": self.id, **parts, "signature": signature}
        return "TAMS-SHA256-RSA " + ",".join(f"{name}={value}" for name, value in parts.items())

    async def send(self, method: str, url: str, content: bytes = b"", **changes: str) -> tuple[int, Any]:
        return await self.send_with(self.header(method, url, content, **changes), method, url, content)

    async def send_with(self, header: str, method: str, url: str, content: bytes = b"") -> tuple[int, Any]:
        address = URL(url, encoded=True)
        async with self.api.client.request(
            method, address, data=content or None, headers={"Authorization": header}
        ) as response:
            return response.status, await response.json()


@pytest.fixture(scope="module")
def private_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def apps(database: Database) -> AppStore:
    return AppStore(database)


@pytest.fixture
async def app(clock: Clock, api: Api, database: Database, apps: AppStore, private_key: RSAPrivateKey) -> App:
    account = await AccountStore(database).ensure("signs")
    return App(api, await apps.add(account.id, written_key(private_key.public_key())), private_key, clock)


def content() -> bytes:
    return json.dumps(body(), indent=1).encode()


async def test_a_signed_job_is_accepted_and_can_be_read(app: App) -> None:
    status, answer = await app.send("POST", "/v1/jobs", content())
    shown = await app.send("GET", f"/v1/jobs/{answer['job']['id']}")

    assert (status, answer["job"]["status"]) == (200, "CREATED")
    assert (shown[0], shown[1]["job"]["status"]) == (200, "WAITING")


@pytest.mark.parametrize("query", ["?a=1&b=2", "?a=%20b&c=%2F+%C3%A9", "?x=%zz&y", "?%41=%41"])
async def test_the_address_is_signed_as_it_is_sent(app: App, query: str) -> None:
    _, answer = await app.send("POST", "/v1/jobs", content())
    escaped = "".join(f"%{ord(digit):02x}" for digit in answer["job"]["id"])

    status, shown = await app.send("GET", f"/v1/jobs/{escaped}{query}")

    assert status == 200, shown


async def test_the_body_of_a_signed_request_is_not_lost(app: App, database: Database) -> None:
    status, _ = await app.send("POST", "/v1/resource/image", b'{"term": 2}')

    assert status == 200
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT kept_for IS NULL FROM resources")


async def test_a_packed_body_is_signed_as_it_is_sent(app: App) -> None:
    packed = gzip.compress(content())
    headers = {"Authorization": app.header("POST", "/v1/jobs", packed), "Content-Encoding": "gzip"}

    async with app.api.client.post("/v1/jobs", data=packed, headers=headers) as response:
        assert response.status == 200, await response.text()


async def test_a_request_without_a_body_is_signed_without_one(app: App) -> None:
    assert (await app.send("POST", "/v1/resource/image"))[0] == 200


async def test_the_app_acts_for_its_account_and_with_its_scopes(
    clock: Clock, app: App, apps: AppStore, database: Database
) -> None:
    accounts = AccountStore(database)
    account = await accounts.named("signs")
    reader = App(
        app.api,
        await apps.add(account.id, written_key(app.private_key.public_key()), scopes=ALL_SCOPES - {"jobs:write"}),
        app.private_key,
        clock,
    )
    _, answer = await app.send("POST", "/v1/jobs", content())

    refused = await reader.send("POST", "/v1/jobs", content())
    by_key = await Api(app.api.client, await accounts.new_key(account.id)).job(answer["job"]["id"])

    assert (refused[0], refused[1]["code"]) == (403, 7)
    assert (await reader.send("GET", f"/v1/jobs/{by_key['id']}"))[0] == 200


@pytest.mark.parametrize(
    ("method", "url", "sent"),
    [
        ("POST", "/v1/jobs", content()),
        ("POST", "/v1/jobs", b""),
        ("POST", "/v1/jobs?a=2", b"{}"),
        ("POST", "/v1/jobs?a=1&b=", b"{}"),
        ("POST", "/v1/jobs", b"{}"),
        ("POST", "/v1/resource/image?a=1", b"{}"),
    ],
)
async def test_a_request_that_was_altered_is_refused(app: App, method: str, url: str, sent: bytes) -> None:
    header = app.header("POST", "/v1/jobs?a=1", b"{}")

    status, answer = await app.send_with(header, method, url, sent)

    assert (status, answer["code"]) == (401, 16)
    assert "does not fit" in answer["message"]


@pytest.mark.parametrize("seconds", [-310, 310, -86400, 10**9])
async def test_a_timestamp_outside_the_window_is_refused(app: App, seconds: int) -> None:
    timestamp = str(int(app.clock().timestamp()) + seconds)

    status, answer = await app.send("GET", "/v1/jobs/1", timestamp=timestamp)

    assert (status, answer["code"]) == (401, 16)
    assert timestamp in answer["message"] and "300" in answer["message"]


@pytest.mark.parametrize("seconds", [-290, 290])
async def test_a_timestamp_inside_the_window_is_taken(app: App, seconds: int) -> None:
    timestamp = str(int(app.clock().timestamp()) + seconds)

    assert (await app.send("GET", "/v1/jobs/1", timestamp=timestamp))[0] == 404


async def test_a_request_that_is_sent_twice_is_taken_once(app: App) -> None:
    header = app.header("GET", "/v1/jobs/1", b"")

    statuses = await asyncio.gather(*(app.send_with(header, "GET", "/v1/jobs/1") for _ in range(5)))

    assert sorted(status for status, _ in statuses) == [401] * 4 + [404]
    assert any("nonce_str" in answer["message"] for _, answer in statuses)


async def test_a_nonce_is_kept_for_as_long_as_its_request_could_be_sent_again(app: App, redis: ArqRedis) -> None:
    await app.send("GET", "/v1/jobs/1", nonce_str="n-1", timestamp=str(int(app.clock().timestamp()) + 299))

    (key,) = await redis.keys("*n-1")

    assert await redis.ttl(key) > 2 * 300


async def test_a_request_that_was_refused_uses_no_nonce_up(app: App) -> None:
    await app.send_with(app.header("GET", "/v1/jobs/1", b"", nonce_str="n-1"), "GET", "/v1/jobs/2")

    assert (await app.send("GET", "/v1/jobs/1", nonce_str="n-1"))[0] == 404


async def test_an_app_that_is_unknown_is_refused(app: App) -> None:
    app.id = "nobody"

    status, answer = await app.send("GET", "/v1/jobs/1")

    assert status == 401 and "nobody" in answer["message"]


async def test_another_apps_key_does_not_fit(app: App) -> None:
    app.private_key = generate_private_key(public_exponent=65537, key_size=2048)

    assert (await app.send("GET", "/v1/jobs/1"))[0] == 401


async def test_a_revoked_app_works_for_as_long_as_it_is_remembered_and_no_longer(app: App, apps: AppStore) -> None:
    assert (await app.send("GET", "/v1/jobs/1"))[0] == 404
    await apps.revoke(app.id)

    assert (await app.send("GET", "/v1/jobs/1"))[0] == 404
    app.clock.advance(REMEMBER)
    assert (await app.send("GET", "/v1/jobs/1"))[0] == 401


async def test_an_api_key_is_no_app_and_an_app_no_api_key(app: App) -> None:
    assert (await Api(app.api.client, app.id).call("GET", "/v1/jobs/1"))[0] == 401


async def test_a_body_over_the_limit_is_refused_before_it_is_checked(app: App) -> None:
    status, answer = await app.send("POST", "/v1/jobs", b"x" * (MAX_BODY_BYTES + 1))

    assert (status, answer["code"]) == (413, 3)


async def test_the_last_use_of_an_app_is_written(
    clock: Clock, options: WebOptions, database: Database, redis: ArqRedis, apps: AppStore, private_key: RSAPrivateKey
) -> None:
    account = await AccountStore(database).ensure("signs")
    app_id = await apps.add(account.id, written_key(private_key.public_key()))
    async with open_api(options, database, redis) as api:
        await App(api, app_id, private_key, clock).send("GET", "/v1/jobs/1")

    (record,) = await apps.apps()

    assert record.last_used_at is not None and abs(clock() - record.last_used_at) < timedelta(seconds=30)


@pytest.fixture
async def without_redis(clock: Clock, options: WebOptions, database: Database) -> AsyncIterator[Api]:
    async with open_redis("redis://127.0.0.1:1") as nowhere, open_api(options, database, nowhere) as opened:
        yield opened


async def test_while_redis_is_away_a_signed_request_is_refused_for_now_and_a_key_works(
    clock: Clock, without_redis: Api, database: Database, apps: AppStore, private_key: RSAPrivateKey
) -> None:
    account = await AccountStore(database).ensure("signs")
    app_id = await apps.add(account.id, written_key(private_key.public_key()))
    app = App(without_redis, app_id, private_key, clock)
    header = app.header("GET", "/v1/jobs/1", b"")

    async with without_redis.client.get("/v1/jobs/1", headers={"Authorization": header}) as response:
        answer = await response.json()

    assert (response.status, answer["code"], response.headers["Retry-After"]) == (503, 14, "1")
    assert (await without_redis.call("GET", "/v1/jobs/1"))[0] == 404
