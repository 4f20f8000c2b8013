"""One real installation for all journeys: three processes, started as `make up` starts them."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from cli.stack import Stack, running_stack
from tests.journeys.client import Client, Fleet, Receiver, eventually


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("installation"), port=0) as started:
        yield started


@pytest.fixture
def fleet(stack: Stack, tmp_path: Path) -> Iterator[Fleet]:
    """What a test ends of the installation's own is started again for the next test."""
    fleet = Fleet(stack, tmp_path)
    yield fleet
    for process in fleet.started:
        process.kill()
    for position, process in enumerate(stack.processes):
        if not process.is_running:
            stack.processes[position] = process.again()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/callback", receiver.receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    database = await asyncpg.connect(stack.environment["DATABASE_URL"])
    async with aiohttp.ClientSession(stack.url, headers=headers) as session:
        client = Client(session, database)
        await eventually(client.is_ready)
        yield client
    await database.close()
