"""How long an idle worker takes from acceptance to claim, by the rows' own times."""

import asyncio
import statistics

from benchmarks.client import open_client
from cli.stack import Stack

REPEATS = 30
STARTED = "SELECT 1000 * extract(epoch FROM started_at - created_at) FROM jobs WHERE id = $1"


async def measure_idle_start(stack: Stack) -> str:
    async with open_client(stack) as client:
        await client.run(steps=1)
        times_ms = []
        for _ in range(REPEATS):
            await asyncio.sleep(0.1)  # idle again, and at no fixed phase of any poll
            job_id, _ = await client.run(steps=1)
            times_ms.append(float(await client.database.fetchval(STARTED, job_id)))
    times_ms.sort()
    p90 = times_ms[int(0.9 * REPEATS)]
    return (
        f"idle enqueue to start, {REPEATS} jobs: median {statistics.median(times_ms):.1f} ms, p90 {p90:.1f} ms "
        f"(goal < 20; arq's own poll would give up to 500)\n"
    )
