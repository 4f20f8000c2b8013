"""The web process's application on real stores, and a client of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp.test_utils import TestClient, TestServer
from arq.connections import ArqRedis

from jobs.catalog import Catalog
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.outlook_board import OutlookBoard
from orchestrator import app
from orchestrator.app import WebOptions, open_app
from tests.orchestrator.clock import Clock

MAX_BODY_BYTES = 200_000
MAX_UPLOAD_BYTES = 100_000
MAX_UPLOAD_PIXELS = 1_000_000
MAX_STREAMS = 5
MAX_STREAMS_PER_ACCOUNT = 3
SECRET = b"a secret of the tests"


@dataclass
class Api:
    """Speaks to the application as one account."""

    client: TestClient[Any, Any]
    key: str

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.key}"} | options.pop("headers", {})
        async with self.client.request(method, path, headers=headers, **options) as response:
            return response.status, await response.json()

    async def post_job(self, body: Any) -> tuple[int, Any]:
        return await self.call("POST", "/v1/jobs", json=body)

    async def job(self, job_id: str) -> dict[str, Any]:
        status, body = await self.call("GET", f"/v1/jobs/{job_id}")
        assert status == 200, body
        job: dict[str, Any] = body["job"]
        return job

    async def upload(self, content: bytes) -> tuple[str, int, Any]:
        """Resource id, status and body of the PUT."""
        _, resource = await self.call("POST", "/v1/resource/image", json={})
        async with self.client.put(path_of(resource["putUrl"]), data=content, headers=resource["headers"]) as response:
            return resource["resourceId"], response.status, await response.json()


@pytest.fixture
def board(redis: ArqRedis) -> OutlookBoard:
    return OutlookBoard(redis)


@pytest.fixture
def files_folder(tmp_path: Path) -> Path:
    return tmp_path / "files"


@pytest.fixture
def options(catalog: Catalog, files_folder: Path) -> WebOptions:
    return WebOptions(
        public_url="http://public.example",
        secret=SECRET,
        files=files_folder,
        catalog=catalog,
        max_body_bytes=MAX_BODY_BYTES,
        max_upload_bytes=MAX_UPLOAD_BYTES,
        max_upload_pixels=MAX_UPLOAD_PIXELS,
        signature_window=timedelta(seconds=300),
        max_streams=MAX_STREAMS,
        max_streams_per_account=MAX_STREAMS_PER_ACCOUNT,
        upload_origins=("*",),
        # The tests call the sweeper themselves.
        sweep_every=timedelta(hours=1),
        max_attempts=2,
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Name it before `api`: applications that are opened later follow it."""
    clock = Clock()
    monkeypatch.setattr(app, "now", clock)
    return clock


@asynccontextmanager
async def open_api(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[Api]:
    key = await new_key(database)
    async with open_app(options, database, redis) as opened, TestClient(TestServer(opened)) as client:
        yield Api(client, key)


@pytest.fixture
async def api(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[Api]:
    async with open_api(options, database, redis) as opened:
        yield opened


@pytest.fixture
async def other(api: Api, database: Database) -> Api:
    """Another account at the same server."""
    return Api(api.client, await new_key(database))


async def new_key(database: Database) -> str:
    accounts = AccountStore(database)
    account = await accounts.ensure(uuid4().hex)
    return await accounts.new_key(account.id)


def body(**changes: Any) -> dict[str, Any]:
    """A valid job; `changes` go into the DIFFUSION stage."""
    diffusion = {"width": 512, "height": 512, "prompts": [{"text": "a red circle"}], **changes}
    return {
        "requestId": uuid4().hex,
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": 1}},
            {"type": "DIFFUSION", "diffusion": diffusion},
        ],
    }


def path_of(url: str) -> str:
    """A public URL as the test server knows it."""
    assert url.startswith("http://public.example/")
    return url.removeprefix("http://public.example")
