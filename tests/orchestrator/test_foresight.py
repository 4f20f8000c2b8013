"""What clients are told of starts and ends, from acceptance on."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.storage.background import beside
from jobs.storage.database import Database
from jobs.storage.job_queue import PROMISES, JobQueue
from jobs.storage.job_store import JobStore, Waiting
from jobs.storage.outlook_board import SPREADS, OutlookBoard
from jobs.turn import Turn
from orchestrator import foresight
from orchestrator.app import WebOptions
from orchestrator.foresight import Foresight
from tests import one_job
from tests.orchestrator.conftest import Api, body, new_key, open_api
from tests.pools import MEMBER, POOL
from tests.until import until

LEASE = timedelta(minutes=1)


@pytest.fixture
async def api(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[Api]:
    """With one idle worker from the beginning, and jobs that take as long as they should."""
    board = OutlookBoard(redis)
    await board.tell("one:1", **MEMBER)
    for _ in range(30):
        await board.measured(("101 19 DIFFUSION", 1.0))
    async with open_api(options, database, redis) as opened:
        await asyncio.sleep(0.05)  # the first look
        yield opened


async def _accepted(api: Api, **changes: Any) -> dict[str, Any]:
    status, answer = await api.post_job(body(**changes))
    assert status == 200, answer
    job: dict[str, Any] = answer["job"]
    return job


async def _explained(api: Api, job_id: str) -> dict[str, Any]:
    status, answer = await api.call("GET", f"/v1/jobs/{job_id}/explain")
    assert status == 200, answer
    explained: dict[str, Any] = answer
    return explained


async def test_a_job_is_told_its_start_and_end_at_once_and_at_each_look(api: Api) -> None:
    first, second = await _accepted(api, steps=20), await _accepted(api, steps=20)

    # 20 steps of a quarter of a megapixel: 0.5 + 0.2 × 5 = 1.5 s. Nothing was learned of waits yet.
    assert first["estimate"]["startsIn"]["p50"] == pytest.approx(0, abs=0.1)
    assert second["estimate"]["startsIn"]["p50"] == pytest.approx(1.5, abs=0.2)
    assert second["estimate"]["endsIn"]["p50"] == pytest.approx(3.0, abs=0.2)
    assert second["estimate"]["startsIn"]["p90"] > 2
    assert (await api.job(second["id"]))["estimate"] == second["estimate"]


async def test_a_running_job_is_told_its_end_and_one_that_has_ended_nothing(api: Api, database: Database) -> None:
    job, jobs = await _accepted(api, steps=20), JobStore(database)
    claimed = await one_job.claim(jobs, int(job["id"]), 1, worker="one:1", lease=LEASE)
    assert claimed is not None

    running = await api.job(job["id"])
    await one_job.succeed(jobs, claimed, [])

    assert running["estimate"]["endsIn"]["p50"] == pytest.approx(1.5, abs=0.3)
    assert "estimate" not in await api.job(job["id"])


async def test_a_running_job_that_is_late_is_never_told_an_end_in_the_past(api: Api, database: Database) -> None:
    job, jobs = await _accepted(api, steps=20), JobStore(database)
    assert await one_job.claim(jobs, int(job["id"]), 1, worker="one:1", lease=LEASE)
    async with database.connection() as connection:
        await connection.execute("UPDATE job_events SET created_at = now() - interval '100 seconds'")

    late = (await api.job(job["id"]))["estimate"]["endsIn"]
    await asyncio.sleep(1)
    later = (await api.job(job["id"]))["estimate"]["endsIn"]

    # All took 1.5 s: nobody knows, so a fifth of the time that it took, and as long again.
    assert (late["p50"], late["p90"]) == (pytest.approx(20, abs=0.5), pytest.approx(100, abs=1))
    assert later["p90"] >= late["p90"] + 0.9
    (listed,) = (await api.call("GET", "/v1/jobs"))[1]["jobs"]
    assert listed["estimate"]["endsIn"]["p90"] >= later["p90"]


async def test_another_attempt_begins_anew(api: Api, database: Database) -> None:
    job, jobs = await _accepted(api, steps=20), JobStore(database)
    assert await one_job.claim(jobs, int(job["id"]), 1, worker="one:1", lease=LEASE)
    async with database.connection() as connection:
        await connection.execute("UPDATE job_events SET created_at = now() - interval '100 seconds'")
    await api.job(job["id"])
    await jobs.hand_back(int(job["id"]), 1, reason="stopped", need="")
    assert await one_job.claim(jobs, int(job["id"]), 2, worker="one:1", lease=LEASE)

    assert (await api.job(job["id"]))["estimate"]["endsIn"]["p90"] <= 1.5


async def test_what_was_told_is_compared_with_the_start(api: Api, redis: ArqRedis) -> None:
    job = await _accepted(api)
    await until(lambda: _promised(redis, 1))

    await JobQueue(redis).start((int(job["id"]), 1))

    calibration = (await OutlookBoard(redis).read()).calibration()
    assert (calibration.starts, calibration.before_p90) == (1, 1)


async def _promised(redis: ArqRedis, number: int) -> bool:
    return int(await redis.hlen(PROMISES)) == number


async def test_any_job_of_a_crowd_may_be_learned_from_and_some_of_each_moment(
    redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foresight, "PROMISES_EVERY_S", 0.01)
    queue, looking = JobQueue(redis), Foresight(OutlookBoard(redis), JobQueue(redis))
    await OutlookBoard(redis).tell("one:1", **MEMBER)
    await looking.look()
    ids = range(1, 151)
    queued = list(zip(ids, await queue.add([Waiting(i, 1, 1.0, Turn(1, 1.0), pool=POOL) for i in ids]), strict=True))

    looking.promise(queued[:50])
    await asyncio.sleep(0)  # then the first ones are on their way
    looking.promise(queued[50:100])
    await asyncio.sleep(0.1)  # and this moment is over
    looking.promise(queued[100:])
    await until(lambda: _promised(redis, 2 * foresight.PROMISES_AT_ONCE))

    promised = {int(each.partition(b":")[0]) for each in await redis.hkeys(PROMISES)}
    assert len(promised & set(range(1, 51))) == foresight.PROMISES_AT_ONCE
    assert not promised & set(range(51, 101))
    # That these were drawn by chance is as likely as to win in a lottery, twice.
    assert promised != {*range(1, 9), *range(101, 109)}


async def test_what_was_measured_makes_the_next_jobs_costlier(api: Api, redis: ArqRedis, database: Database) -> None:
    for _ in range(100):
        await OutlookBoard(redis).measured(("101 19 DIFFUSION", 4.0))
    await asyncio.sleep(1.1)  # the next look

    job = await _accepted(api, steps=20)

    assert (await one_job.get(JobStore(database), int(job["id"]))).cost_s == pytest.approx(4 * 1.5)
    assert job["estimate"]["endsIn"]["p50"] == pytest.approx(6.0, abs=0.2)


async def test_what_cannot_be_read_ends_no_look(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foresight, "LOOK_EVERY_S", 0.01)
    await OutlookBoard(redis).measured(("101 19 DIFFUSION", 1.0))
    await redis.lpush(f"{SPREADS}:101 19 DIFFUSION", "as long as it takes")
    looking = Foresight(OutlookBoard(redis), JobQueue(redis))

    async with beside(looking.look_for_ever()):
        await asyncio.sleep(0.1)
        await redis.delete(SPREADS)
        await OutlookBoard(redis).tell("one:1", **MEMBER)
        await until(lambda: asyncio.sleep(0, looking.outlook.workers == 1))


async def test_a_job_is_told_why_it_waits(api: Api, database: Database) -> None:
    theirs = Api(api.client, await new_key(database))
    for each in (api, theirs, api):
        await _accepted(each, steps=20)
    job = await _accepted(api, steps=20)

    explained = await _explained(api, job["id"])

    assert explained["explanation"].startswith("3 jobs are before it, 2 of them yours; 1 worker is alive; it should")
    assert (explained["jobsBefore"], explained["yourJobsBefore"], explained["workersAlive"]) == (3, 2, 1)
    assert explained["estimate"] == (await api.job(job["id"]))["estimate"]
    assert (await theirs.call("GET", f"/v1/jobs/{job['id']}/explain"))[0] == 404


async def test_a_job_is_told_that_it_waits_for_room_or_for_its_next_attempt(api: Api, database: Database) -> None:
    parked, delayed = await _accepted(api), await _accepted(api)
    async with database.connection() as connection:
        await connection.execute("UPDATE jobs SET parked_at = now() WHERE id = $1", int(parked["id"]))
        await connection.execute(
            "UPDATE jobs SET attempt = 1, available_at = now() + interval '30 seconds' WHERE id = $1",
            int(delayed["id"]),
        )

    sentences = [(await _explained(api, job["id"]))["explanation"] for job in (parked, delayed)]

    assert sentences[0].startswith("Its account runs as many jobs as it may")
    assert sentences[1] == "Attempt 1 failed in a way that may pass; it is tried again in 30 s."


async def test_who_follows_a_job_hears_when_it_should_start(api: Api) -> None:
    await _accepted(api)
    job = await _accepted(api)

    headers = {"Authorization": f"Bearer {api.key}"}
    async with api.client.get(f"/v1/jobs/{job['id']}/events", headers=headers) as stream:
        async for line in stream.content:
            if line.startswith(b"data:"):
                break

    assert json.loads(line.removeprefix(b"data:"))["job"]["estimate"] == job["estimate"]


async def test_without_a_worker_nothing_is_promised(options: WebOptions, database: Database, redis: ArqRedis) -> None:
    async with open_api(options, database, redis) as api:
        job = await _accepted(api)
        sentence = (await _explained(api, job["id"]))["explanation"]

    assert "estimate" not in job
    reason = "no worker that takes jobs is alive"
    assert (job["isPossible"], job["impossibleBecause"]) == (False, [reason])
    assert sentence == f"It is the first in line; {reason}; it starts when a worker comes that can run it."
    assert await _promised(redis, 0)
