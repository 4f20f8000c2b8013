"""Clients that never give up: they send the same request until it is answered, and remember every answer."""

import asyncio
import os
import random
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

from tests.journeys.client import body

CLIENTS = 4
MOST_OUTSTANDING = 30 if "DARKROOM_ROUNDS" in os.environ else 8
ANSWERED_WITHIN_S = 90
REQUEST_WITHIN_S = 10
STEPS = 4
# Of jobs: canceled soon after, and sent once more though they were answered.
CANCELED, REPEATED = 0.1, 0.2


@dataclass
class Load:
    """`accepted` is by request id what the API answered; `canceled` the jobs whose cancel it confirmed."""

    http: aiohttp.ClientSession
    notify_url: str
    chance: random.Random
    accepted: dict[str, str] = field(default_factory=dict)
    canceled: set[str] = field(default_factory=set)
    ended: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    in_flight: int = 0
    is_over: bool = False
    answers: defaultdict[int | str, int] = field(default_factory=lambda: defaultdict(int))

    def hears(self, webhook_id: str, job: dict[str, Any]) -> None:
        """Of a callback at the end of a job."""
        self.ended[job["id"]].add(webhook_id)

    def outstanding(self) -> int:
        return len(set(self.accepted.values()) - self.ended.keys())

    async def run(self) -> None:
        """Until it is over: then what was asked is still answered, for else nobody would know what became of it."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        while not self.is_over:
            await asyncio.sleep(self.chance.random() * 0.5)
            if self.outstanding() < MOST_OUTSTANDING:
                await self._job()

    async def _job(self) -> None:
        request = body(request_id=uuid4().hex, notify_url=self.notify_url, steps=STEPS)
        job_id = await self._post(request)
        if self.chance.random() < CANCELED:
            await asyncio.sleep(self.chance.random())
            if await self._until_answered("DELETE", f"/v1/jobs/{job_id}") is not None:
                self.canceled.add(job_id)
        if self.chance.random() < REPEATED:
            await self._post(request)

    async def _post(self, request: dict[str, Any]) -> str:
        answer = await self._until_answered("POST", "/v1/jobs", json=request)
        assert answer is not None
        job_id = str(answer["job"]["id"])
        assert self.accepted.setdefault(request["requestId"], job_id) == job_id
        return job_id

    async def _until_answered(self, method: str, path: str, **given: Any) -> Any:
        """The answer, or None where it is that the job has ended already."""
        async with asyncio.timeout(ANSWERED_WITHIN_S):
            while True:
                try:
                    self.in_flight += 1
                    async with self.http.request(method, path, **given, timeout=_DEADLINE) as response:
                        self.answers[response.status] += 1
                        if response.status == 200:
                            return await response.json()
                        if response.status == 409 and method == "DELETE":
                            return None
                        assert response.status >= 500, await response.text()
                except (aiohttp.ClientError, TimeoutError) as error:
                    self.answers[type(error).__name__] += 1
                finally:
                    self.in_flight -= 1
                await asyncio.sleep(0.1)


_DEADLINE = aiohttp.ClientTimeout(total=REQUEST_WITHIN_S)
