"""A job is canceled while it is drawn, and its events are heard, through the real processes."""

import asyncio
import json

import pytest

from tests.journeys.client import Client, Receiver, eventually

pytestmark = pytest.mark.journey

LEASE_S = 5


async def test_a_job_canceled_in_mid_denoise_frees_its_worker_and_calls_back_once(
    client: Client, receiver: Receiver
) -> None:
    job_id = await client.submit(steps=60, notify_url=receiver.url)
    await client.worker_of(job_id)
    next_one = await client.submit(steps=5)

    async with client.http.delete(f"/v1/jobs/{job_id}") as response:
        assert (response.status, await response.json()) == (200, {"jobId": job_id, "job_id": job_id})

    assert (await client.job(job_id))["status"] == "CANCELED"
    assert (await client.ended(next_one))["status"] == "SUCCESS"
    free_after = await client.database.fetchval(
        "SELECT next.started_at - canceled.finished_at FROM jobs AS next, jobs AS canceled "
        "WHERE next.id = $1 AND canceled.id = $2",
        int(next_one),
        int(job_id),
    )
    print(f"\nthe next job began {free_after.total_seconds():.2f} s after the cancel")
    assert free_after.total_seconds() < LEASE_S
    assert await client.database.fetchval("SELECT count(*) FROM resources WHERE job_id = $1", int(job_id)) == 0

    async def called() -> bool:
        return bool(receiver.received)

    await eventually(called)
    await asyncio.sleep(1)  # time for a second one, which must not come
    ((_, content),) = receiver.received
    assert json.loads(content) == {"job": await client.job(job_id)}


async def test_the_events_of_a_job_come_while_it_is_drawn(client: Client) -> None:
    job_id = await client.submit(steps=60)

    async with client.http.get(f"/v1/jobs/{job_id}/events") as response:
        content = (await asyncio.wait_for(response.read(), 60)).decode()

    names = [line.removeprefix("event: ") for line in content.splitlines() if line.startswith("event: ")]
    assert names.count("progress") >= 3
    assert [name for name in names if name not in ("progress", "place")] == ["accepted", "started", "success"]
    assert names[-1] == "success"
