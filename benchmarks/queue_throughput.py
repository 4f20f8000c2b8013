"""Jobs per second through the queue alone, with an engine that draws nothing, against a bare arq worker, in turns.

Ours: claim, lease, events, outcome and ledger in PostgreSQL, each attempt fenced, cancel heard. arq: Redis alone.
"""

import asyncio
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import asyncpg
from redis import Redis

from benchmarks.arq_noop_worker import QUEUE as BARE_QUEUE
from benchmarks.ingress import post_one_each
from benchmarks.noop_worker import ABILITY, POOL
from benchmarks.until import until
from cli.stack import Stack, running_stack
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.redis_connection import open_redis

# With fewer the start of the worker and its heart counts.
JOBS = 3000
REPEATS = 5


def compare_queue(folder: Path) -> str:
    with running_stack(folder, port=0) as stack:
        # The real worker and the dispatcher would take their share.
        for process in stack.processes[1:]:
            process.kill()
        ours, bare = [], []
        for _ in range(REPEATS):
            bare.append(_drained(asyncio.run(_fill_bare(stack)), "benchmarks.arq_noop_worker", stack, _left_bare))
            asyncio.run(_announce(stack))
            post_one_each(int(stack.url.rpartition(":")[2]), stack.api_key, JOBS)
            ours.append(_drained(JOBS, "benchmarks.noop_worker", stack, _left))
    ratios = sorted(one / other for one, other in zip(ours, bare, strict=True))
    return (
        f"{JOBS} no-op jobs: {statistics.median(ours):.0f}/s, bare arq {statistics.median(bare):.0f}/s, "
        f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}; goal >= 0.7)\n"
    )


async def _announce(stack: Stack) -> None:
    """The worker that will come: what no worker can run is not put into its line."""
    async with open_redis(stack.environment["REDIS_URL"]) as redis:
        await OutlookBoard(redis).tell("to come", pool=POOL, ability=ABILITY)


async def _fill_bare(stack: Stack) -> int:
    async with open_redis(stack.environment["REDIS_URL"]) as redis:
        for number in range(JOBS):
            await redis.enqueue_job("noop", number, _queue_name=BARE_QUEUE)
    return JOBS


def _drained(jobs: int, module: str, stack: Stack, left: Callable[[Stack], int]) -> float:
    """Jobs per second, from the first that has ended to the last."""
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, env=stack.environment) as worker:
        try:
            began = until(lambda: left(stack) < jobs)
            first = left(stack)
            return first / (until(lambda: left(stack) == 0) - began)
        finally:
            worker.terminate()


def _left_bare(stack: Stack) -> int:
    with Redis.from_url(stack.environment["REDIS_URL"]) as redis:
        return int(cast(Any, redis.zcard(BARE_QUEUE)))


def _left(stack: Stack) -> int:
    async def count() -> int:
        connection = await asyncpg.connect(stack.environment["DATABASE_URL"])
        try:
            unfinished = "SELECT count(*) FROM jobs WHERE status IN ('WAITING', 'RUNNING')"
            return int(await connection.fetchval(unfinished))
        finally:
            await connection.close()

    return asyncio.run(count())
