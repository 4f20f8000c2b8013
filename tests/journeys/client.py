"""What the journeys hold in their hands: a client of the API, a callback receiver, and more processes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg
from aiohttp import web

from cli.process import Process
from cli.stack import Stack

IN_FLIGHT = ("CREATED", "PENDING", "WAITING", "RUNNING")


@dataclass
class Fleet:
    """Starts more processes beside the installation's own; all are stopped at the end of the test."""

    stack: Stack
    folder: Path
    started: list[Process] = field(default_factory=list)

    def start(self, module: str, **environment: str) -> Process:
        process = Process(module, {**self.stack.environment, **environment}, self.folder / str(len(self.started)))
        self.started.append(process)
        return process

    def running(self, module: str) -> list[Process]:
        return [each for each in (*self.stack.processes, *self.started) if each.module == module and each.is_running]


@dataclass
class Receiver:
    """A client's callback endpoint; remembers what came."""

    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)

    async def receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((headers, await request.read()))
        return web.Response(status=204)


@dataclass
class Client:
    """The API as its users call it."""

    http: aiohttp.ClientSession
    database: asyncpg.Connection

    async def is_ready(self) -> bool:
        try:
            async with self.http.get("/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async def submit(self, *, request_id: str | None = None, **fields: Any) -> str:
        return str((await self.post(body(request_id=request_id, **fields)))["job"]["id"])

    async def post(self, request: dict[str, Any]) -> dict[str, Any]:
        async with self.http.post("/v1/jobs", json=request) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
            return answer

    async def job(self, job_id: str) -> dict[str, Any]:
        async with self.http.get(f"/v1/jobs/{job_id}") as response:
            job: dict[str, Any] = (await response.json())["job"]
            return job

    async def ended(self, job_id: str, within_s: float = 60) -> dict[str, Any]:
        async def has_ended() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return None if job["status"] in IN_FLIGHT else job

        return await eventually(has_ended, within_s)

    async def picture(self, job: dict[str, Any], position: int = 0) -> bytes:
        async with self.http.get(job["successInfo"]["images"][position]["url"]) as response:
            assert response.status == 200
            return await response.read()

    async def worker_of(self, job_id: str, within_s: float = 30) -> int:
        """The process id of the worker that is drawing this job, once it has done a few steps."""

        async def is_drawing() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job.get("runningInfo", {}).get("step", 0) >= 3 else None

        await eventually(is_drawing, within_s)
        worker = await self.database.fetchval("SELECT worker FROM jobs WHERE id = $1", int(job_id))
        return int(worker.rpartition(":")[2])


def body(*, request_id: str | None = None, notify_url: str = "", **diffusion: Any) -> dict[str, Any]:
    fields = {"width": 512, "height": 512, "prompts": [{"text": "a red circle"}], "steps": 12, **diffusion}
    initialize = {"seed": fields.pop("seed", 7), "count": fields.pop("count", 1)}
    if "image" in fields:
        initialize["imageResourceId"] = fields.pop("image")
    return {
        "requestId": request_id or uuid4().hex,
        "notifyUrl": notify_url,
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": initialize},
            {"type": "DIFFUSION", "diffusion": fields},
        ],
    }


async def eventually(look: Callable[[], Awaitable[Any]], within_s: float = 30) -> Any:
    """The first true answer. Fails the test when the time has passed."""
    deadline = time.monotonic() + within_s
    while not (answer := await look()):
        assert time.monotonic() < deadline, f"did not happen within {within_s} s"
        await asyncio.sleep(0.02)
    return answer
