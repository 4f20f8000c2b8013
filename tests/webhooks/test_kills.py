"""kill -9 of the dispatcher, above all between sending and recording: nothing is lost, and a repeat has the same id.

`make chaos` kills more often; DARKROOM_KILLS says how often.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiohttp import web

from embedded import Servers
from jobs.job import Job
from tests.until import until
from tests.webhooks.conftest import Office
from tests.webhooks.receiver import Receiver

KILLS = int(os.environ.get("DARKROOM_KILLS", "3"))
AT_ONCE = 20
# A statement that was on its way when its process was killed may still claim: such a claim lapses by itself.
SETTLED_WITHIN_S = 120


class Fleet:
    """One dispatcher process, which dies when it is told to and is followed by another."""

    def __init__(self, environment: dict[str, str], log_file: Path) -> None:
        with log_file.open("wb") as log:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.webhooks.nursery"],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._process_id: int | None = None

    def start(self) -> None:
        assert self._nursery.stdin and self._nursery.stdout
        self._nursery.stdin.write(b"\n")
        self._nursery.stdin.flush()
        self._process_id = int(self._nursery.stdout.readline())

    def kill(self) -> None:
        if self._process_id:
            os.kill(self._process_id, signal.SIGKILL)
            self._process_id = None

    def end(self) -> None:
        self.kill()
        self._nursery.communicate(timeout=10)

    @property
    def is_running(self) -> bool:
        return self._process_id is not None


@pytest.fixture
def fleet(servers: Servers, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "REDIS_URL": servers.redis_url,
        "DARKROOM_SECRET": "a secret of the tests",
        "DARKROOM_EGRESS_ALLOW": "127.0.0.0/8",
        "DARKROOM_DELIVERY_DELAYS_S": "0.1,0.1",
    }
    fleet = Fleet(environment, tmp_path / "webhooks.log")
    yield fleet
    fleet.end()


async def test_what_was_sent_and_not_recorded_arrives_again_with_the_same_id(
    office: Office, receiver: Receiver, fleet: Fleet
) -> None:
    async def kill(_request: web.Request) -> web.StreamResponse:
        fleet.kill()
        return web.Response(status=204)

    receiver.answers = [kill]
    job = await office.ended_job(receiver.url)
    fleet.start()
    await _received(receiver, 1)
    before = await office.delivery(job)

    await _let_claims_lapse(office)
    fleet.start()
    await office.has_states(job, ["DELIVERED"])

    first, second = (headers["webhook-id"] for headers, _ in receiver.received)
    assert first == second
    assert (before["state"], before["tries"]) == ("PENDING", 0)
    assert len(await office.attempts(job)) == 1


async def test_random_kills_lose_nothing(office: Office, receiver: Receiver, fleet: Fleet) -> None:
    chance = random.Random(7)
    messages: defaultdict[str, list[str]] = defaultdict(list)
    kills = 0

    async def receive(request: web.Request) -> web.StreamResponse:
        nonlocal kills
        messages[request.query_string].append(request.headers["webhook-id"])
        await asyncio.sleep(chance.random() * 0.01)
        if kills < KILLS and fleet.is_running and chance.random() < 3 / AT_ONCE:
            kills += 1
            fleet.kill()
        return web.Response(status=204)

    receiver.always = receive
    jobs: list[Job] = []
    while kills < KILLS:
        if await _is_settled(office):
            jobs.append(await office.running_job())
            await office.tell(jobs[-1], [f"{receiver.url}?{jobs[-1].id}-{number}" for number in range(AT_ONCE)])
        if not fleet.is_running:
            await _let_claims_lapse(office)
            fleet.start()
        await until(lambda: _is_over(office, fleet), within_s=SETTLED_WITHIN_S)
    await _let_claims_lapse(office)
    fleet.start()
    await until(lambda: _is_settled(office), within_s=SETTLED_WITHIN_S)

    for job in jobs:
        assert await office.states(job) == ["DELIVERED"] * AT_ONCE
    assert len(messages) == len(jobs) * AT_ONCE
    assert all(len(set(ids)) == 1 for ids in messages.values())
    repeats = sum(len(ids) - 1 for ids in messages.values())
    assert repeats >= kills // 2, "it was killed between sending and recording"
    print(f"\n{kills} kills, {len(messages)} callbacks, {repeats} repeats, none lost")


async def _received(receiver: Receiver, count: int) -> None:
    async def has() -> bool:
        return len(receiver.received) >= count

    await until(has, within_s=SETTLED_WITHIN_S)


async def _is_over(office: Office, fleet: Fleet) -> bool:
    return not fleet.is_running or await _is_settled(office)


async def _is_settled(office: Office) -> bool:
    async with office.database.connection() as connection:
        return not await connection.fetchval("SELECT count(*) FROM deliveries WHERE state = 'PENDING'")


async def _let_claims_lapse(office: Office) -> None:
    await until(lambda: _is_at_rest(office))
    await office.execute("UPDATE deliveries SET claimed_until = now() WHERE claimed_until > now()")


async def _is_at_rest(office: Office) -> bool:
    """The server ends a statement also when who asked was killed."""
    others = "datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()"
    async with office.database.connection() as connection:
        return not await connection.fetchval(f"SELECT count(*) FROM pg_stat_activity WHERE {others}")
