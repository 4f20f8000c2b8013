"""Real PostgreSQL and Redis for every test that asks: one pair per run, a fresh database per test."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
from arq.connections import ArqRedis
from moto.server import ThreadedMotoServer

from embedded import Servers, embedded_servers
from jobs.catalog import Catalog, Family, Model
from jobs.storage.database import Database, open_database
from jobs.storage.migrate import migrate
from jobs.storage.redis_connection import open_redis

TEMPLATE = "darkroom_template"

# A shell that has read `.darkroom/env` has the addresses of an installation that is in use.
for name in ("DATABASE_URL", "REDIS_URL"):
    os.environ.pop(name, None)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with embedded_servers(tmp_path_factory.mktemp("servers"), fast=True) as started:
        asyncio.run(_make_template(started.database_url))
        yield started


@pytest.fixture
async def database_url(servers: Servers) -> AsyncIterator[str]:
    """A migrated, empty database of this test's own."""
    async with _created(servers, "test", f"TEMPLATE {TEMPLATE}") as url:
        yield url


@pytest.fixture
async def empty_url(servers: Servers) -> AsyncIterator[str]:
    """A database without any table."""
    async with _created(servers, "empty") as url:
        yield url


@asynccontextmanager
async def _created(servers: Servers, kind: str, told: str = "") -> AsyncIterator[str]:
    name = f"{kind}_{uuid4().hex}"
    await _execute(servers.database_url, f"CREATE DATABASE {name} {told}")
    yield _with_database(servers.database_url, name)
    await _execute(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with open_database(database_url) as opened:
        yield opened


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[ArqRedis]:
    """An empty Redis."""
    async with open_redis(servers.redis_url) as opened:
        await opened.flushall()
        yield opened


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """A server that speaks S3; see `tests.s3` for buckets."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def catalog() -> Catalog:
    """One model of each family; their files do not exist."""
    families = {"101": Family.SD15, "102": Family.SD2, "103": Family.SDXL}
    return Catalog(
        [Model(id=id_, name=f"model-{family}", family=family, path=Path("absent")) for id_, family in families.items()]
    )


async def _make_template(url: str) -> None:
    await _execute(url, f"CREATE DATABASE {TEMPLATE}")
    await migrate(_with_database(url, TEMPLATE))


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _with_database(url: str, name: str) -> str:
    return urlsplit(url)._replace(path=f"/{name}").geturl()
