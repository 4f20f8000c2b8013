"""How true what clients are told of starts is, on real processes: the simulator's traffic, drawn by a real worker.

A simulated second is as much of a real one as the worker needs for a job's simulated second, so that the load is the
same. Used by `make forecasts`.
"""

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from benchmarks.client import job_body
from benchmarks.simulation.traffic import MEAN_COST_S, Knobs, SimulatedJob, traffic
from cli.stack import Stack, running_stack
from jobs.storage.account_store import AccountStore
from jobs.storage.database import open_database

MINUTES = 6.0
# Nothing is known before the first ones.
LEARNING = 100
STEPS_PER_SECOND = 1.5
DONE_WITHIN_S = 300
WAITED = "SELECT id, extract(epoch FROM started_at - created_at)::float8 FROM jobs WHERE id = ANY($1)"
TOOK = "SELECT id, extract(epoch FROM finished_at - started_at)::float8 FROM jobs WHERE id = ANY($1)"
# The API tells tenths of seconds.
ROUNDED_S = 0.05


@dataclass(frozen=True, slots=True)
class Told:
    """Seconds to its start, as the answer to its POST told them."""

    job_id: int
    account: str
    p50: float
    p90: float


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--minutes", type=float, default=MINUTES)
    minutes = arguments.parse_args().minutes
    os.environ.setdefault("DARKROOM_LOG_FORMAT", "json")
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, running_stack(Path(folder), port=0) as stack:
        print(asyncio.run(measure_forecasts(stack, minutes)))


async def measure_forecasts(stack: Stack, minutes: float) -> str:
    database = await asyncpg.connect(stack.environment["DATABASE_URL"])
    try:
        scale = await _real_seconds_of_one(stack, database)
        # Bursts as often as the simulator's, by the jobs between them.
        simulated = traffic(Knobs(minutes=minutes / scale, workers=1, burst=30, burst_every=15.0, models=1))
        told = await _send(stack, simulated, scale)
        waited = await _times(database, WAITED, [each.job_id for each in told])
    finally:
        await database.close()
    return _report(told[LEARNING:], waited, minutes)


async def _real_seconds_of_one(stack: Stack, database: asyncpg.Connection) -> float:
    """Of a simulated second of work."""
    async with _clients(stack, ["warm"]) as clients:
        seconds: list[float] = []
        for seed in range(8):
            job = await _post(clients["warm"], MEAN_COST_S, seed)
            seconds += (await _times(database, TOOK, [int(job["id"])])).values()
    return statistics.median(seconds) / MEAN_COST_S


async def _send(stack: Stack, jobs: Sequence[SimulatedJob], scale: float) -> list[Told]:
    """Each at its time."""
    told: list[Told] = []
    async with _clients(stack, sorted({job.account for job in jobs})) as clients, asyncio.TaskGroup() as sending:
        began = time.monotonic()

        async def send(job: SimulatedJob) -> None:
            answer = await _post(clients[job.account], job.cost_s, job.id)
            starts_in = answer["estimate"]["startsIn"]
            told.append(Told(int(answer["id"]), job.account, starts_in["p50"], starts_in["p90"]))

        for job in jobs:
            await asyncio.sleep(began + job.arrives_s * scale - time.monotonic())
            sending.create_task(send(job))
    return told


async def _post(client: aiohttp.ClientSession, cost_s: float, seed: int) -> dict[str, Any]:
    async with client.post("/v1/jobs", json=job_body(round(STEPS_PER_SECOND * cost_s), seed)) as response:
        response.raise_for_status()
        job: dict[str, Any] = (await response.json())["job"]
        return job


async def _times(database: asyncpg.Connection, query: str, job_ids: Sequence[int]) -> dict[int, float]:
    """By job, when all have one."""
    deadline = time.monotonic() + DONE_WITHIN_S
    times: dict[int, float | None] = {0: None}
    while None in times.values():
        if time.monotonic() > deadline:
            raise RuntimeError("a job did not start or end in time")
        await asyncio.sleep(0.1)
        times = {row[0]: row[1] for row in await database.fetch(query, job_ids)}
    return {job_id: seconds for job_id, seconds in times.items() if seconds is not None}


@asynccontextmanager
async def _clients(stack: Stack, accounts: Sequence[str]) -> AsyncIterator[dict[str, aiohttp.ClientSession]]:
    clients = {}
    async with AsyncExitStack() as exits, open_database(stack.environment["DATABASE_URL"], connections=1) as database:
        store = AccountStore(database)
        for name in accounts:
            key = await store.new_key((await store.ensure(name)).id)
            session = aiohttp.ClientSession(stack.url, headers={"Authorization": f"Bearer {key}"})
            clients[name] = await exits.enter_async_context(session)
        yield clients


def _report(told: Sequence[Told], waited: dict[int, float], minutes: float) -> str:
    groups = {
        "all": told,
        "all but the burst": [each for each in told if each.account != "burst"],
        "the burst": [each for each in told if each.account == "burst"],
        "that waited over a second": [each for each in told if waited[each.job_id] > 1],
    }
    lines = [f"starts as told at acceptance, {minutes:g} minutes, one worker (goal for p90: 85 % to 95 %)"]
    return "\n".join([*lines, *(_row(name, group, waited) for name, group in groups.items() if group)])


def _row(name: str, told: Sequence[Told], waited: dict[int, float]) -> str:
    before_p50 = sum(waited[each.job_id] <= each.p50 + ROUNDED_S for each in told) / len(told)
    before_p90 = sum(waited[each.job_id] <= each.p90 + ROUNDED_S for each in told) / len(told)
    waits = sorted(waited[each.job_id] for each in told)
    return (
        f"  {name}: {len(told)} jobs, waited {statistics.median(waits):.1f} s, longest {waits[-1]:.1f} s; "
        f"{before_p50:.0%} before p50, {before_p90:.0%} before p90"
    )


if __name__ == "__main__":
    main()
