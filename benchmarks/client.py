"""One job at a time through the API, timed from POST to callback."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
from aiohttp import web

from cli.stack import Stack

DONE_WITHIN_S = 120
PROMPT = "a red circle on a blue background"


def job_body(steps: int, seed: int = 1) -> dict[str, Any]:
    diffusion = {"width": 512, "height": 512, "prompts": [{"text": PROMPT}], "steps": steps, "cfgScale": 7}
    return {
        "requestId": uuid4().hex,
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": seed}},
            {"type": "DIFFUSION", "diffusion": diffusion},
        ],
    }


class BenchClient:
    """Hears of a job's end by its callback: a client that polls takes the cores that draw."""

    def __init__(self, http: aiohttp.ClientSession, database: asyncpg.Connection, callback_url: str) -> None:
        self._http = http
        self._callback_url = callback_url
        self.database = database
        self.called_back: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def run(self, steps: int) -> tuple[int, float]:
        """Job id and seconds from POST to callback. Raises RuntimeError unless the job succeeds."""
        began = time.perf_counter()
        async with self._http.post("/v1/jobs", json=job_body(steps) | {"notifyUrl": self._callback_url}) as response:
            response.raise_for_status()
        job = (await asyncio.wait_for(self.called_back.get(), DONE_WITHIN_S))["job"]
        if job["status"] != "SUCCESS":
            raise RuntimeError(f"the job did not succeed: {job}")
        return int(job["id"]), time.perf_counter() - began

    async def receive(self, request: web.Request) -> web.Response:
        self.called_back.put_nowait(await request.json())
        return web.Response(status=204)


@asynccontextmanager
async def open_client(stack: Stack) -> AsyncIterator[BenchClient]:
    port = free_port()
    database = await asyncpg.connect(stack.environment["DATABASE_URL"])
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    async with aiohttp.ClientSession(stack.url, headers=headers) as http:
        client = BenchClient(http, database, f"http://127.0.0.1:{port}/")
        app = web.Application()
        app.add_routes([web.post("/", client.receive)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield client
        await runner.cleanup()
    await database.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
