"""kill -9 of every part at the moments that matter, under load: nothing is lost, nothing happens twice.

`make chaos` goes through the whole matrix many times: DARKROOM_ROUNDS says how often, DARKROOM_CHAOS_SEED with which
chances. Without rounds it is each store, and each kind of process, once.
"""

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import asyncpg
import pytest
from aiohttp import web

from jobs.storage.files import output_folder
from tests.chaos.installation import Installation
from tests.chaos.load import Load
from tests.chaos.oracle import check

pytestmark = [pytest.mark.journey, pytest.mark.timeout(36_000)]

ROUNDS = int(os.environ.get("DARKROOM_ROUNDS", "0"))
SEED = int(os.environ.get("DARKROOM_CHAOS_SEED", "1"))
MOMENT_WITHIN_S = 120
QUIET_WITHIN_S = 600


@dataclass
class Chaos:
    """What the moments may look at. `lost` are the attempts whose worker was killed, and when."""

    made: Installation
    load: Load
    database: asyncpg.Connection
    chance: random.Random
    before_answer: Callable[[], None] = lambda: None
    lost: list[tuple[int, int, float]] = field(default_factory=list)
    kills: dict[str, int] = field(default_factory=dict)

    async def running(self) -> Any:
        """A job that is drawn now, by a worker that is alive."""
        query = "SELECT id, attempt, worker FROM jobs WHERE status = 'RUNNING'"
        return await self.until(lambda: self._drawn(query))

    async def _drawn(self, query: str) -> Any:
        alive = {each.process_id for each in self.made.processes("gpu_worker") if each.is_running}
        rows = await (await self._connected()).fetch(query)
        return next((row for row in rows if _process_id(row) in alive), None)

    async def until(self, look: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(MOMENT_WITHIN_S):
            while not (seen := await look()):
                await asyncio.sleep(0.001)
            return seen

    async def _row(self, query: str, *arguments: Any) -> Any:
        return await (await self._connected()).fetchrow(query, *arguments)

    async def _connected(self) -> asyncpg.Connection:
        if self.database.is_closed():
            self.database = await asyncpg.connect(self.made.postgres.url)
        return self.database

    async def busy_web(self) -> None:
        async def is_asked() -> bool:
            return self.load.in_flight > 0

        await self.until(is_asked)
        await asyncio.sleep(self.chance.random() * 0.005)

    def kill_worker(self, row: Any) -> None:
        self.made.kill_worker(_process_id(row))
        self.lost.append((row["id"], row["attempt"], time.time()))


def _process_id(row: Any) -> int:
    """Of the worker that a job names."""
    return int(row["worker"].rpartition(":")[2])


async def worker_in_mid_stage(chaos: Chaos) -> None:
    row = await chaos.running()
    await asyncio.sleep(chaos.chance.random() * 0.3)
    chaos.kill_worker(row)


async def worker_in_mid_upload(chaos: Chaos) -> None:
    """The picture is stored, or half stored, and the job does not say so yet."""

    async def stores() -> Any:
        row = await chaos.running()
        folder = chaos.made.files / output_folder(row["id"], row["attempt"])
        return row if folder.exists() else None

    chaos.kill_worker(await chaos.until(stores))


async def dispatcher_in_mid_callback(chaos: Chaos) -> None:
    """The receiver has the callback, and the dispatcher not its answer."""
    killed = asyncio.Event()

    def kill() -> None:
        chaos.before_answer = lambda: None
        chaos.made.kill("webhooks")
        killed.set()

    chaos.before_answer = kill
    await asyncio.wait_for(killed.wait(), MOMENT_WITHIN_S)


async def web_with_requests_in_flight(chaos: Chaos) -> None:
    """Before or after the commit, as chance has it."""
    await chaos.busy_web()
    chaos.made.kill("orchestrator")


async def web_in_mid_sweep(chaos: Chaos) -> None:
    """While it takes back the job of a worker that died."""
    row = await chaos.running()
    chaos.kill_worker(row)

    async def has_lapsed() -> Any:
        return await chaos._row("SELECT 1 FROM jobs WHERE id = $1 AND lease_expires_at < now()", row["id"])

    await chaos.until(has_lapsed)
    await asyncio.sleep(chaos.chance.random())
    chaos.made.kill("orchestrator")


async def postgres_with_requests_in_flight(chaos: Chaos) -> None:
    await chaos.busy_web()
    await chaos.made.kill_postgres(chaos.chance.random())


async def redis_with_requests_in_flight(chaos: Chaos) -> None:
    await chaos.busy_web()
    await chaos.made.kill_redis(chaos.chance.random())


async def redis_emptied(chaos: Chaos) -> None:
    await chaos.made.empty_redis()


MATRIX = (
    worker_in_mid_stage,
    worker_in_mid_upload,
    dispatcher_in_mid_callback,
    web_with_requests_in_flight,
    web_in_mid_sweep,
    postgres_with_requests_in_flight,
    redis_with_requests_in_flight,
    redis_emptied,
)
SHORT = (
    worker_in_mid_upload,
    dispatcher_in_mid_callback,
    web_with_requests_in_flight,
    postgres_with_requests_in_flight,
    redis_with_requests_in_flight,
)


async def test_whatever_is_killed_all_that_was_accepted_ends_once(
    made: Installation, http: aiohttp.ClientSession
) -> None:
    async with _chaos(made, http) as chaos:
        loading = asyncio.create_task(chaos.load.run())
        for moment in _moments(chance=chaos.chance):
            await moment(chaos)
            chaos.kills[moment.__name__] = chaos.kills.get(moment.__name__, 0) + 1
            await asyncio.sleep(chaos.chance.random())
            made.start_again()
            await asyncio.sleep(chaos.chance.random() * 3)
            assert not loading.done(), loading.result()
        chaos.load.is_over = True
        await loading
        await _until_quiet(chaos)

        await check(made, chaos.load, http)

        await _print_figures(chaos)


def _moments(chance: random.Random) -> list[Callable[[Chaos], Awaitable[None]]]:
    rounds = [MATRIX] * ROUNDS or [SHORT]
    return [each for moments in rounds for each in chance.sample(moments, len(moments))]


@asynccontextmanager
async def _chaos(made: Installation, http: aiohttp.ClientSession) -> AsyncIterator[Chaos]:
    chance = random.Random(SEED)
    database = await asyncpg.connect(made.postgres.url)
    load = Load(http, "", chance)
    chaos = Chaos(made, load, database, chance)

    async def receive(request: web.Request) -> web.Response:
        load.hears(request.headers["webhook-id"], (await request.json())["job"])
        chaos.before_answer()
        return web.Response(status=204)

    app = web.Application()
    app.add_routes([web.post("/", receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    load.notify_url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
    try:
        yield chaos
    finally:
        await runner.cleanup()
        await chaos.database.close()


async def _until_quiet(chaos: Chaos) -> None:
    """Every job has told its end, and no callback waits for another try."""
    async with asyncio.timeout(QUIET_WITHIN_S):
        while chaos.load.outstanding() or await chaos._row("SELECT 1 FROM deliveries WHERE state = 'PENDING' LIMIT 1"):
            await asyncio.sleep(0.1)


async def _print_figures(chaos: Chaos) -> None:
    noticed, resumed = [], []
    for job_id, attempt, killed_at in chaos.lost:
        query = """SELECT extract(epoch FROM min(created_at)) FROM job_events
            WHERE job_id = $1 AND kind = $2 AND attempt = $3"""
        for kind, number, times in (("REQUEUED", attempt, noticed), ("STARTED", attempt + 1, resumed)):
            at = await chaos.database.fetchval(query, job_id, kind, number)
            if at is not None:
                times.append(float(at) - killed_at)
    load = chaos.load
    print(f"\njobs {len(load.accepted)}, canceled {len(load.canceled)}, lost 0, doubled 0; kills {chaos.kills}")
    print(f"answers {dict(load.answers)}")
    print(f"noticed after {_quantiles(noticed)}; runs again after {_quantiles(resumed)}")


def _quantiles(times: list[float]) -> str:
    ordered = sorted(times)
    return f"p50 {ordered[len(ordered) // 2]:.1f} s, p99 {ordered[int(len(ordered) * 0.99)]:.1f} s" if ordered else "-"
