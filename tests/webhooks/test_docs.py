"""The receivers of docs/callbacks.md do what it says of them."""

import asyncio
import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from cryptography.exceptions import InvalidSignature

from benchmarks.client import free_port
from jobs.signing_keys import SigningKind, new_signing_key, written_public_key
from webhooks.signature import signed_headers

DOCS = Path(__file__).parents[2] / "docs" / "callbacks.md"
SECRET = bytes(range(32))
JOB = b'{"job":{"id":"7","status":"SUCCESS"}}'


def example(number: int) -> str:
    """The so many-th piece of Python, from 0."""
    return re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[number]


@pytest.fixture
def port() -> Iterator[int]:
    free = free_port()
    written = f"whsec_{base64.b64encode(SECRET).decode()}"
    environment = {**os.environ, "PORT": str(free), "DARKROOM_WEBHOOK_SECRET": written}
    with subprocess.Popen([sys.executable, "-c", example(0)], env=environment, stdout=subprocess.PIPE) as receiver:
        yield free
        receiver.terminate()
        assert receiver.stdout
        said = [line for line in receiver.stdout.read().decode().splitlines() if line.startswith(("job", "a test"))]
    assert said == ["job 7 is SUCCESS", "a test"]


def signed(id: str, body: bytes) -> dict[str, str]:
    return signed_headers([b"an older one", SECRET], id, datetime.now(UTC), body)


async def test_the_receiver_takes_what_is_signed_once_and_nothing_else(port: int) -> None:
    calls = [("msg_1", JOB, JOB), ("msg_1", JOB, JOB), ("msg_2", JOB, JOB + b" "), ("msg_3", b'{"test":true}', None)]
    async with aiohttp.ClientSession() as session:
        statuses = [await _post(session, port, signed(id, body), sent or body) for id, body, sent in calls]

    assert statuses == [204, 204, 400, 204]


async def _post(session: aiohttp.ClientSession, port: int, headers: Mapping[str, str], body: bytes) -> int:
    async with asyncio.timeout(15):
        while True:
            try:
                async with session.post(f"http://127.0.0.1:{port}/", data=body, headers=headers) as response:
                    return response.status
            except aiohttp.ClientConnectorError:  # it is starting
                await asyncio.sleep(0.05)


def test_the_check_of_a_public_key_refuses_another_body() -> None:
    names: dict[str, object] = {}
    exec(example(1), names)
    check = names["check"]
    assert callable(check)
    key = new_signing_key(SigningKind.ED25519)
    public = written_public_key(SigningKind.ED25519, key)
    headers = signed_headers([SECRET], "msg_1", datetime.now(UTC), JOB, ed25519_key=key)

    check(public, headers, JOB)
    with pytest.raises(InvalidSignature):
        check(public, headers, JOB + b" ")
