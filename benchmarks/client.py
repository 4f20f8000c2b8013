"""One job at a time through the API, timed from POST to SUCCESS."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import aiohttp
import asyncpg

from cli.stack import Stack

LOOK_EVERY_S = 0.005
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
    def __init__(self, http: aiohttp.ClientSession, database: asyncpg.Connection) -> None:
        self._http = http
        self.database = database

    async def run(self, steps: int) -> tuple[int, float]:
        """Job id and seconds from POST to SUCCESS."""
        began = time.perf_counter()
        async with self._http.post("/v1/jobs", json=job_body(steps)) as response:
            job = (await response.json())["job"]
        while job["status"] != "SUCCESS":
            if job["status"] == "FAILED" or time.perf_counter() - began > DONE_WITHIN_S:
                raise RuntimeError(f"the job did not succeed: {job}")
            await asyncio.sleep(LOOK_EVERY_S)
            async with self._http.get(f"/v1/jobs/{job['id']}") as response:
                job = (await response.json())["job"]
        return int(job["id"]), time.perf_counter() - began


@asynccontextmanager
async def open_client(stack: Stack) -> AsyncIterator[BenchClient]:
    database = await asyncpg.connect(stack.environment["DATABASE_URL"])
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    async with aiohttp.ClientSession(stack.url, headers=headers) as http:
        yield BenchClient(http, database)
    await database.close()
