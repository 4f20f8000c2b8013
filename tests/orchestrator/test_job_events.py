"""The stream of a job's events: prompt, complete over any cut, and no burden when its reader is slow or gone."""

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from arq.connections import ArqRedis

from jobs.job import Failure, FailureCode, Job, Preview, Progress
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.progress_board import ProgressBoard
from orchestrator import job_events
from orchestrator.app import WebOptions, open_app
from tests import one_job
from tests.orchestrator.conftest import MAX_STREAMS, MAX_STREAMS_PER_ACCOUNT, Api, body, new_key, open_api

WITHIN_S = 10
LAST_CHUNK = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Message:
    """One server-sent event."""

    id: str | None
    name: str
    data: dict[str, Any]

    @property
    def job(self) -> dict[str, Any]:
        job: dict[str, Any] = self.data["job"]
        return job


class Stream:
    """What an EventSource makes of a response."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.comments = 0

    async def next(self) -> Message | None:
        """None at the end."""
        async with asyncio.timeout(WITHIN_S):
            fields: dict[str, str] = {}
            while line := await self.response.content.readline():
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name.startswith(":"):
                    self.comments += 1
                elif name:
                    fields[name] = value
                elif "data" in fields:
                    return Message(fields.get("id"), fields["event"], json.loads(fields["data"]))
        return None

    async def until(self, *names: str) -> list[Message]:
        """What comes up to the first event of one of these names."""
        messages = []
        while message := await self.next():
            messages.append(message)
            if message.name in names:
                return messages
        raise AssertionError(f"the stream ended after {[each.name for each in messages]}")

    async def rest(self) -> list[Message]:
        messages = []
        while message := await self.next():
            messages.append(message)
        return messages


@asynccontextmanager
async def listening(api: Api, job_id: str, last: str | None = None) -> AsyncIterator[Stream]:
    headers = {"Authorization": f"Bearer {api.key}"} | ({"Last-Event-ID": last} if last else {})
    async with api.client.get(f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert response.status == 200, await response.text()
        yield Stream(response)


@dataclass
class Worker:
    """Does to jobs what workers do."""

    jobs: JobStore
    queue: JobQueue
    board: ProgressBoard

    async def claim(self, job_id: str, attempt: int = 1) -> Job:
        job = await one_job.claim(self.jobs, int(job_id), attempt, worker="machine:77", lease=timedelta(minutes=1))
        assert job is not None
        await self.queue.remove((job.id, attempt))
        return job

    async def step(self, job: Job, step: int, *previews: Preview) -> None:
        progress = Progress(attempt=job.attempt, fraction=step / 20, stage=1, step=step, steps=20, previews=previews)
        await self.board.publish(job.id, progress)

    async def fail(self, job: Job) -> None:
        await self.jobs.fail(job.id, job.attempt, Failure(code=FailureCode.FATAL_ERROR, reason="it cannot be"))


@pytest.fixture
def worker(database: Database, redis: ArqRedis) -> Worker:
    return Worker(JobStore(database), JobQueue(redis), ProgressBoard(redis))


async def accepted(api: Api) -> str:
    return str((await api.post_job(body()))[1]["job"]["id"])


async def test_a_stream_tells_a_jobs_whole_life_and_ends_with_it(api: Api, worker: Worker) -> None:
    first, job_id = await accepted(api), await accepted(api)
    async with listening(api, job_id) as stream:
        messages = await stream.until("accepted")
        await worker.claim(first)
        messages += await stream.until("place")
        job = await worker.claim(job_id)
        messages += await stream.until("started")
        await worker.step(job, 5, Preview(index=0, number=1, format="jpeg", width=64, height=64))
        messages += await stream.until("progress")
        await worker.jobs.requeue(job.id, 1, delay=timedelta(hours=1), reason="the worker was stopped")
        messages += await stream.until("requeued")
        job = await worker.claim(job_id, 2)
        messages += await stream.until("started")
        await one_job.succeed(worker.jobs, job, [])
        messages += await stream.rest()

    names = ["accepted", "place", "started", "progress", "requeued", "started", "success"]
    assert [message.name for message in messages] == names
    assert [message.id is None for message in messages] == [name in ("place", "progress") for name in names]
    durable = [int(message.id) for message in messages if message.id]
    assert durable == sorted(set(durable))
    statuses = [message.job["status"] for message in messages]
    assert statuses == ["WAITING", "WAITING", "RUNNING", "RUNNING", "WAITING", "RUNNING", "SUCCESS"]
    assert [message.job["waitingInfo"]["queueRank"] for message in messages[:2]] == ["2", "1"]
    (image,) = messages[3].job["runningInfo"]["processingImages"]
    assert image["progress"] == 0.25 and image["resourceImage"]["url"].startswith("http://public.example/v1/previews/")
    assert messages[3].data.keys() == {"job"}
    event = messages[4].data["event"]
    assert event.pop("createdAt").endswith("+00:00")
    assert event == {"kind": "REQUEUED", "attempt": 1, "reason": "the worker was stopped"}
    assert "machine" not in str(messages), "who draws is no one's business"


async def test_the_body_of_an_event_is_what_get_answers(api: Api, worker: Worker) -> None:
    job_id = await accepted(api)
    async with listening(api, job_id) as stream:
        await worker.fail(await worker.claim(job_id))
        (*_, last) = await stream.rest()

    assert last.job == await api.job(job_id)
    assert last.job["failedInfo"]["reason"] == last.data["event"]["reason"] == "it cannot be"


async def test_a_client_that_comes_again_hears_what_it_missed_and_no_more(api: Api, worker: Worker) -> None:
    job_id = await accepted(api)
    async with listening(api, job_id) as stream:
        (first,) = await stream.until("accepted")
    job = await worker.claim(job_id)
    await worker.step(job, 5)
    async with listening(api, job_id, first.id) as stream:
        started = (await stream.until("started"))[-1]
    async with listening(api, job_id, started.id) as stream:
        live = await stream.next()
        await worker.fail(job)
        missed = await stream.rest()

    assert live and live.name == "progress" and live.id is None
    assert [message.name for message in missed] == ["failed"]


async def test_a_client_that_has_heard_the_end_is_told_to_come_no_more(api: Api, worker: Worker) -> None:
    job_id = await accepted(api)
    await worker.fail(await worker.claim(job_id))
    async with listening(api, job_id) as stream:
        (*_, last) = await stream.rest()

    headers = {"Authorization": f"Bearer {api.key}", "Last-Event-ID": last.id or ""}
    async with api.client.get(f"/v1/jobs/{job_id}/events", headers=headers) as response:
        assert (response.status, await response.read()) == (204, b"")


@pytest.mark.parametrize("last", ["0", "99999999", "x", "-77", "9" * 400, "é"])
async def test_an_id_that_is_none_of_the_jobs_skips_nothing(api: Api, worker: Worker, last: str) -> None:
    job_id = await accepted(api)
    await worker.fail(await worker.claim(job_id))

    async with listening(api, job_id, last) as stream:
        assert [message.name for message in await stream.rest()] == ["accepted", "started", "failed"]


async def test_another_jobs_event_id_skips_nothing(api: Api, worker: Worker) -> None:
    job_id = await accepted(api)
    async with listening(api, await accepted(api)) as stream:
        (elsewhere,) = await stream.until("accepted")
    await worker.fail(await worker.claim(job_id))

    async with listening(api, job_id, elsewhere.id) as stream:
        assert len(await stream.rest()) == 3


async def test_many_streams_of_one_job_hear_the_same(api: Api, other: Api, worker: Worker) -> None:
    job_id = await accepted(api)
    async with AsyncExitStack() as exits:
        streams = [await exits.enter_async_context(listening(api, job_id)) for _ in range(MAX_STREAMS_PER_ACCOUNT)]
        await asyncio.gather(*(stream.until("accepted") for stream in streams))
        await worker.fail(await worker.claim(job_id))
        heard = await asyncio.gather(*(stream.rest() for stream in streams))

    assert [[message.id for message in each if message.id] for each in heard] == [
        [message.id for message in heard[0] if message.id]
    ] * len(streams)
    assert heard[0][-1].name == "failed"


async def test_an_event_is_told_promptly(api: Api, worker: Worker) -> None:
    delays = []
    for _ in range(5):
        job_id = await accepted(api)
        async with listening(api, job_id) as stream:
            await stream.until("accepted")
            await asyncio.sleep(0.07)  # another phase of the poll each time
            await worker.claim(job_id)
            happened = time.monotonic()
            await stream.until("started")
            delays.append(time.monotonic() - happened)

    # The poll is every 0.2 s; the rest is room for a busy machine.
    assert sorted(delays)[len(delays) // 2] < 0.5


async def test_other_accounts_and_strangers_hear_nothing(api: Api, other: Api) -> None:
    job_id = await accepted(api)

    assert (await other.call("GET", f"/v1/jobs/{job_id}/events"))[0] == 404
    assert (await api.call("GET", "/v1/jobs/x/events"))[0] == 404
    assert (await api.call("GET", f"/v1/jobs/{job_id}/events", headers={"Authorization": "Bearer wrong"}))[0] == 401


async def test_a_silent_stream_beats(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_events, "HEARTBEAT_EVERY_S", 0.05)
    monkeypatch.setattr(job_events, "LOOK_EVERY_S", 0.02)
    job_id = await accepted(api)
    async with listening(api, job_id) as stream:
        await stream.until("accepted")
        await asyncio.sleep(0.3)
        await api.call("DELETE", f"/v1/jobs/{job_id}")
        await stream.until("canceled")

    assert stream.comments >= 2


async def test_a_stream_that_has_lived_long_ends_and_can_be_resumed(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await accepted(api)

    with monkeypatch.context() as short:
        short.setattr(job_events, "LIFE_S", 1)
        async with listening(api, job_id) as stream:
            (heard,) = await stream.rest()

    await api.call("DELETE", f"/v1/jobs/{job_id}")
    async with listening(api, job_id, heard.id) as stream:
        assert [message.name for message in await stream.rest()] == ["canceled"]


async def test_an_account_may_open_so_many_streams_and_gets_them_back(api: Api, other: Api) -> None:
    job_id, theirs = await accepted(api), await accepted(other)
    async with AsyncExitStack() as exits:
        for _ in range(MAX_STREAMS_PER_ACCOUNT):
            await exits.enter_async_context(listening(api, job_id))
        refused = await api.call("GET", f"/v1/jobs/{job_id}/events")
        for _ in range(MAX_STREAMS - MAX_STREAMS_PER_ACCOUNT):
            await exits.enter_async_context(listening(other, theirs))
        full = await other.call("GET", f"/v1/jobs/{theirs}/events")

    assert (refused[0], refused[1]["code"]) == (429, 8) and str(MAX_STREAMS_PER_ACCOUNT) in refused[1]["message"]
    assert (full[0], full[1]["code"]) == (503, 14)
    async with asyncio.timeout(WITHIN_S):
        while (await _status(api, job_id)) == 429:  # until it is seen that the readers have gone
            await asyncio.sleep(0.1)


async def test_a_reader_that_does_not_read_is_dropped(
    options: WebOptions, database: Database, redis: ArqRedis, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_events, "WRITE_WITHIN_S", 0.3)
    previews = [Preview(index=index, number=1, format="jpeg", width=64, height=64) for index in range(3000)]
    async with open_api(options, database, redis) as api:
        job_id = await accepted(api)
        job = await worker.claim(job_id)
        with socket.socket() as slow:
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect((str(api.client.host), api.client.port))
            slow.sendall(
                f"GET /v1/jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.key}\r\n\r\n".encode()
            )
            slow.setblocking(False)
            # Each is a megabyte: more than the buffers between us.
            for step in range(1, 6):
                await worker.step(job, step, *previews)
                await asyncio.sleep(0.3)
            assert not (await _rest(slow)).endswith(LAST_CHUNK), "it was cut, and not ended"
        await worker.step(job, 9)
        async with listening(api, job_id) as other:
            await other.until("started")


async def test_a_web_process_that_stops_ends_its_streams_at_once(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    key = await new_key(database)
    async with open_app(options, database, redis) as app, aiohttp.ClientSession() as session:
        runner = web.AppRunner(app, shutdown_timeout=60)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/jobs"
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(url, json=body(), headers=headers) as response:
            job_id = (await response.json())["job"]["id"]
        async with session.get(f"{url}/{job_id}/events", headers=headers) as response:
            stream = Stream(response)
            await stream.until("accepted")
            async with asyncio.timeout(5):
                await runner.cleanup()
            assert await stream.rest() == []


async def test_streams_go_on_after_the_stores_were_away(
    api: Api, worker: Worker, database: Database, redis: ArqRedis
) -> None:
    job_id = await accepted(api)
    async with listening(api, job_id) as stream:
        await stream.until("accepted")
        async with database.connection() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        await redis.flushall()
        await asyncio.sleep(0.3)
        await worker.fail(await worker.claim(job_id))

        assert [message.name for message in await stream.rest()][-1] == "failed"


async def _rest(reader: socket.socket) -> bytes:
    """All that can still be read, to the end of the connection."""
    content = b""
    async with asyncio.timeout(WITHIN_S):
        while part := await asyncio.get_running_loop().sock_recv(reader, 2**20):
            content += part
    return content


async def _status(api: Api, job_id: str) -> int:
    headers = {"Authorization": f"Bearer {api.key}"}
    async with api.client.get(f"/v1/jobs/{job_id}/events", headers=headers) as response:
        return response.status
