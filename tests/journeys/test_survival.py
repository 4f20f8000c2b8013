"""What is accepted is done, whatever is killed."""

import json
import os
import signal
import time

import asyncpg
import pytest
import redis.asyncio

from cli.process import Process
from cli.stack import Stack
from tests.journeys.client import Client, Fleet, Receiver, eventually

pytestmark = pytest.mark.journey

RESUMED_WITHIN_S = 20
STOPPED_WITHIN_S = 30


async def test_jobs_accepted_before_redis_was_emptied_still_end(stack: Stack, client: Client) -> None:
    ids = [await client.submit(steps=20) for _ in range(4)]

    async with redis.asyncio.from_url(stack.environment["REDIS_URL"]) as connection:
        await connection.flushall()

    assert [(await client.ended(job_id))["status"] for job_id in ids] == ["SUCCESS"] * 4


async def test_a_worker_killed_in_mid_denoise_is_followed_by_another(client: Client, fleet: Fleet) -> None:
    second = fleet.start("gpu_worker")
    await _is_working(second)
    job_id = await client.submit(steps=40)
    doomed = await client.worker_of(job_id)

    os.kill(doomed, signal.SIGKILL)
    killed_at = time.monotonic()
    job = await client.ended(job_id, within_s=RESUMED_WITHIN_S)

    assert job["status"] == "SUCCESS"
    print(f"\nSUCCESS on a second worker {time.monotonic() - killed_at:.1f} s after the kill")
    row = await client.database.fetchrow("SELECT attempt, worker FROM jobs WHERE id = $1", int(job_id))
    assert row["attempt"] == 2 and not row["worker"].endswith(f":{doomed}")
    assert len(job["successInfo"]["images"]) == 1


async def test_a_dispatcher_killed_while_the_job_runs_does_not_lose_or_double_the_callback(
    client: Client, fleet: Fleet, receiver: Receiver
) -> None:
    job_id = await client.submit(steps=30, notify_url=receiver.url)
    for dispatcher in fleet.running("webhooks"):
        dispatcher.kill()
    await client.ended(job_id)

    fleet.start("webhooks")

    async def delivered() -> bool:
        return await _delivery_state(client.database, job_id) == ["DELIVERED"]

    await eventually(delivered)
    assert [json.loads(content)["job"]["id"] for _, content in receiver.received] == [job_id]


async def test_a_web_process_killed_after_it_answered_loses_no_job(client: Client, fleet: Fleet) -> None:
    ids = [await client.submit(steps=10) for _ in range(3)]

    for web in fleet.running("orchestrator"):
        web.kill()
    fleet.start("orchestrator")

    async def all_done() -> bool:
        statuses = await client.database.fetch(
            "SELECT status FROM jobs WHERE id = ANY($1::bigint[])", list(map(int, ids))
        )
        return {row["status"] for row in statuses} == {"SUCCESS"}

    await eventually(all_done)


@pytest.mark.parametrize("module", ["gpu_worker", "webhooks", "orchestrator"])
async def test_each_process_stops_cleanly_when_asked(module: str, client: Client, fleet: Fleet) -> None:
    job_id = await client.submit(steps=60)
    process = fleet.running(module)[0]

    process.ask_to_stop()
    asked_at = time.monotonic()
    process.wait(STOPPED_WITHIN_S)

    assert time.monotonic() - asked_at < STOPPED_WITHIN_S
    assert process.exit_code == 0, process.last_lines()
    status = await client.database.fetchval("SELECT status FROM jobs WHERE id = $1", int(job_id))
    assert status in ("WAITING", "RUNNING", "SUCCESS")


async def _is_working(worker: Process) -> None:
    async def started() -> bool:
        return "worker_started" in worker.last_lines()

    await eventually(started, 60)


async def _delivery_state(database: asyncpg.Connection, job_id: str) -> list[str]:
    rows = await database.fetch("SELECT state FROM deliveries WHERE job_id = $1", int(job_id))
    return [row["state"] for row in rows]
