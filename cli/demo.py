"""One job from the outside, as a client sees it: submit, watch, receive the callback, keep the picture."""

import asyncio
import base64
import hashlib
import hmac
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
from aiohttp import web

from cli.stack import Stack

PROMPT = "a red circle on a blue background"
# The first picture that anybody sees: of some others this small model makes a circle with a tail.
SEED = "2"
DONE_WITHIN_S = 300
CALLBACK_WITHIN_S = 60
LOOK_EVERY_S = 0.1
BAR_WIDTH = 30
IN_FLIGHT = ("CREATED", "PENDING", "WAITING", "RUNNING")


class DemoFailed(Exception):
    """Something did not happen as it should; the message says what."""


@dataclass(slots=True)
class Mailbox:
    """Where the callback lands. `url` is ours to listen on."""

    url: str = ""
    received: asyncio.Queue[tuple[dict[str, str], bytes]] = field(default_factory=asyncio.Queue)

    async def receive(self, request: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.put_nowait((headers, await request.read()))
        return web.Response(status=204)


async def run_demo(stack: Stack, folder: Path, prompt: str = PROMPT) -> None:
    """Prints what happens, and writes the pictures into `folder`. Raises DemoFailed."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    headers = {"Authorization": f"Bearer {stack.api_key}"}
    timeout = aiohttp.ClientTimeout(total=30)
    async with (
        _mailbox() as mailbox,
        aiohttp.ClientSession(stack.url, headers=headers, timeout=timeout) as session,
    ):
        job_id = await _submit(session, prompt, mailbox.url)
        print(f"job {job_id}: {prompt!r}")
        job = await _watch(session, job_id, folder)
        if job["status"] != "SUCCESS":
            raise DemoFailed(f"the job ended as {job['status']}: {job.get('failedInfo')}")
        await _expect_callback(mailbox, stack.webhook_secret)
        for image in job["successInfo"]["images"]:
            print(f"picture: {await _save(session, image, folder)}")


@asynccontextmanager
async def _mailbox() -> AsyncIterator[Mailbox]:
    mailbox = Mailbox()
    app = web.Application()
    app.add_routes([web.post("/callback", mailbox.receive)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    mailbox.url = f"http://127.0.0.1:{runner.addresses[0][1]}/callback"
    try:
        yield mailbox
    finally:
        await runner.cleanup()


async def _submit(session: aiohttp.ClientSession, prompt: str, callback_url: str) -> str:
    diffusion = {"width": 512, "height": 512, "prompts": [{"text": prompt}], "steps": 30, "cfgScale": 7}
    body = {
        "requestId": uuid4().hex,
        "notifyUrl": callback_url,
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": SEED, "count": 2}},
            {"type": "DIFFUSION", "diffusion": diffusion},
        ],
    }
    async with session.post("/v1/jobs", json=body) as response:
        answer = await response.json()
        if response.status != 200:
            raise DemoFailed(f"the job was refused: {answer}")
        return str(answer["job"]["id"])


async def _watch(session: aiohttp.ClientSession, job_id: str, folder: Path) -> dict[str, Any]:
    deadline = time.monotonic() + DONE_WITHIN_S
    shown = ""
    saved: set[str] = set()
    while time.monotonic() < deadline:
        async with session.get(f"/v1/jobs/{job_id}") as response:
            job: dict[str, Any] = (await response.json())["job"]
        for image in job.get("runningInfo", {}).get("processingImages", []):
            resource = image.get("resourceImage")
            if resource and resource["id"] not in saved:
                saved.add(resource["id"])
                _say(f"  preview {await _save(session, resource, folder)}")
        shown = _show(job, shown)
        if job["status"] not in IN_FLIGHT:
            return job
        await asyncio.sleep(LOOK_EVERY_S)
    raise DemoFailed(f"the job was not done within {DONE_WITHIN_S} s")


def _show(job: dict[str, Any], shown: str) -> str:
    """A progress bar that is drawn over on a terminal; elsewhere, a line for each change."""
    line = _line(job)
    if line != shown:
        _say(line, stays=not sys.stdout.isatty() or job["status"] not in IN_FLIGHT)
    return line


def _say(line: str, *, stays: bool = True) -> None:
    start = "\r\033[K" if sys.stdout.isatty() else ""
    print(f"{start}{line}", end="\n" if stays else "", flush=True)


def _line(job: dict[str, Any]) -> str:
    waiting, running = job.get("waitingInfo"), job.get("runningInfo")
    if waiting:
        starts_in = job.get("estimate", {}).get("startsIn")
        when = f", starts in about {starts_in['p50']:.0f} s" if starts_in else ""
        return f"  {job['status']} rank {waiting['queueRank']} of {waiting['queueLen']}{when}"
    if not running or "step" not in running:
        return f"  {job['status']}"
    fraction = max(image["progress"] for image in running["processingImages"])
    bar = ("█" * round(fraction * BAR_WIDTH)).ljust(BAR_WIDTH, "·")
    return f"  {job['status']} {bar} {fraction:4.0%} step {running['step']} of {running['steps']}"


async def _expect_callback(mailbox: Mailbox, secret: str) -> None:
    try:
        headers, body = await asyncio.wait_for(mailbox.received.get(), CALLBACK_WITHIN_S)
    except TimeoutError as error:
        raise DemoFailed(f"no callback came within {CALLBACK_WITHIN_S} s") from error
    if not is_signed(headers, body, secret):
        raise DemoFailed("the callback's signature is not right")
    print(f"callback {headers['webhook-id']} received, signature verified")


def is_signed(headers: dict[str, str], body: bytes, secret: str) -> bool:
    """As any receiver would check it. Source: Standard Webhooks, v1."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    return any(hmac.compare_digest(expected, each) for each in headers["webhook-signature"].split())


async def _save(session: aiohttp.ClientSession, image: dict[str, Any], folder: Path) -> Path:
    file = folder / f"{image['id']}.{image['image']['format']}"
    async with session.get(image["url"]) as response:
        if response.status != 200:
            raise DemoFailed(f"{file.name} could not be fetched: {response.status}")
        await asyncio.to_thread(file.write_bytes, await response.read())
    return file
