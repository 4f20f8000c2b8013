"""From POST to callback through the three real processes."""

import asyncio
import io
import json
from typing import Any

import pytest
from PIL import Image
from standardwebhooks import Webhook

from cli.stack import Stack
from tests.journeys.client import Client, Receiver, body, eventually

pytestmark = pytest.mark.journey


async def test_a_job_waits_runs_succeeds_and_calls_back_once(stack: Stack, client: Client, receiver: Receiver) -> None:
    first = await client.submit(steps=60)
    await client.worker_of(first)
    second = await client.submit(steps=20)
    job_id = await client.submit(steps=40, width=576, height=512, notify_url=receiver.url)
    waiting = await client.job(job_id)

    seen = await _watch(client, job_id)

    assert waiting["status"] == "WAITING"
    assert (waiting["waitingInfo"]["queueRank"], waiting["waitingInfo"]["queueLen"]) == ("2", "2")
    images = [image for job in seen for image in job["runningInfo"]["processingImages"]]
    fractions = [image["progress"] for image in images]
    assert len(set(fractions)) >= 3 and fractions == sorted(fractions)
    previews = {image["resourceImage"]["id"] for image in images if "resourceImage" in image}
    assert len(previews) >= 2, "the preview must renew itself"
    job = await client.ended(job_id)
    assert job["status"] == "SUCCESS"
    picture = Image.open(io.BytesIO(await client.picture(job)))
    assert (picture.format, picture.size) == ("PNG", (576, 512))
    await _expect_one_callback(stack, receiver, job_id)
    for other in (first, second):
        assert (await client.ended(other))["status"] == "SUCCESS"


async def test_a_preview_link_shows_a_small_jpeg(client: Client) -> None:
    job_id = await client.submit(steps=60)

    async def preview() -> Any:
        job = await client.job(job_id)
        images = job.get("runningInfo", {}).get("processingImages", [])
        return images[0].get("resourceImage") if images else None

    resource = await eventually(preview)
    async with client.http.get(resource["url"]) as response:
        picture = Image.open(io.BytesIO(await response.read()))
    assert picture.format == "JPEG" and max(picture.size) <= 256
    assert picture.size == (resource["image"]["width"], resource["image"]["height"])


async def test_running_notify_url_hears_of_the_start_of_progress_and_of_the_end(
    client: Client, receiver: Receiver
) -> None:
    request = body(steps=60) | {"runningNotifyUrl": receiver.url}

    await client.post(request)

    def heard() -> list[Any]:
        return [json.loads(content)["job"] for _, content in receiver.received]

    async def has_ended() -> bool:
        return bool(heard()) and heard()[-1]["status"] == "SUCCESS"

    await eventually(has_ended)
    *running, end = heard()
    assert {job["status"] for job in running} == {"RUNNING"} and "successInfo" in end
    steps = [job["runningInfo"].get("step", 0) for job in running]
    assert len(steps) >= 2 and steps == sorted(set(steps))


async def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(client: Client) -> None:
    ids = [await client.submit(seed=seed) for seed in (11, 11, 12)]

    first, again, other = [await client.picture(await client.ended(job_id)) for job_id in ids]

    assert first == again
    assert first != other


async def test_the_second_picture_of_a_job_is_the_next_seeds_picture(client: Client) -> None:
    pair, single = await client.submit(seed=20, count=2), await client.submit(seed=21)

    second = Image.open(io.BytesIO(await client.picture(await client.ended(pair), position=1)))
    alone = Image.open(io.BytesIO(await client.picture(await client.ended(single))))

    # A batch of two may round otherwise than a batch of one: a few 8-bit values differ by one.
    differences = [abs(a - b) for a, b in zip(second.tobytes(), alone.tobytes(), strict=True)]
    assert max(differences) <= 2


async def test_a_picture_that_was_uploaded_is_where_the_job_begins(client: Client) -> None:
    resource_id = await _upload(client, Image.new("RGB", (640, 640), "red"))

    near = await client.submit(image=resource_id, denoisingStrength=0.1)
    far = await client.submit(image=resource_id, denoisingStrength=1)

    pictures = [await client.picture(await client.ended(job_id)) for job_id in (near, far)]
    assert pictures[0] != pictures[1]


async def test_the_same_request_fifty_times_at_once_is_one_job(client: Client) -> None:
    request = body(steps=5)

    answers = await asyncio.gather(*(client.post(request) for _ in range(50)))

    assert len({answer["job"]["id"] for answer in answers}) == 1


async def _watch(client: Client, job_id: str) -> list[dict[str, Any]]:
    """What GET shows of a job while it runs."""
    seen: list[dict[str, Any]] = []
    while (job := await client.job(job_id))["status"] in ("WAITING", "RUNNING"):
        if job.get("runningInfo", {}).get("processingImages"):
            seen.append(job)
        await asyncio.sleep(0.02)
    return seen


async def _expect_one_callback(stack: Stack, receiver: Receiver, job_id: str) -> None:
    async def called() -> bool:
        return bool(receiver.received)

    await eventually(called)
    await asyncio.sleep(1)  # time for a second one, which must not come
    assert len(receiver.received) == 1
    headers, content = receiver.received[0]
    verified = Webhook(stack.webhook_secret).verify(content, headers)
    assert verified["job"]["id"] == job_id and verified["job"]["status"] == "SUCCESS"


async def _upload(client: Client, picture: Image.Image) -> str:
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    async with client.http.post("/v1/resource/image", json={}) as response:
        resource = await response.json()
    async with client.http.put(resource["putUrl"], data=encoded.getvalue(), headers=resource["headers"]) as response:
        assert (response.status, await response.json()) == (200, {"Status": "OK"})
    return str(resource["resourceId"])
