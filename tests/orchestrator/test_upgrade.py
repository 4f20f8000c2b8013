"""Jobs that were accepted by the release before pools, in each state that there was, after the database is upgraded."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient, TestServer
from arq.connections import ArqRedis

from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database, open_database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.migrate import migrate
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.submission_json import dumped
from orchestrator.app import WebOptions, open_app
from tests import one_job
from tests.jobs import samples
from tests.orchestrator.conftest import Api
from tests.pools import MEMBER, POOL
from tests.until import until

BEFORE = "0015"
IN_AN_HOUR, AGO = "now() + interval '1 hour'", "now() - interval '1 minute'"
LEASED = {"status": "'RUNNING'", "attempt": "1", "worker": "'old:1'", "started_at": AGO}
STATES: dict[str, dict[str, str]] = {
    "new": {},
    "parked": {"parked_at": AGO},
    "given room": {"unparked_attempt": "0"},
    "delayed": {"attempt": "1", "available_at": IN_AN_HOUR, "started_at": AGO},
    "to be retried": {"attempt": "1", "available_at": AGO, "started_at": AGO},
    "handed back": {"attempt": "2", "handed_back": "1", "started_at": AGO},
    "running": {**LEASED, "lease_expires_at": IN_AN_HOUR},
    "lapsed": {**LEASED, "lease_expires_at": AGO},
    "done": {"status": "'SUCCESS'", "attempt": "1", "finished_at": AGO},
    "failed": {
        "status": "'FAILED'",
        "attempt": "1",
        "failure_code": "'FATAL_ERROR'",
        "failure_reason": "'no such file'",
        "finished_at": AGO,
    },
    "canceled": {"status": "'CANCELED'", "finished_at": AGO},
}
QUEUED = {"new", "parked", "given room", "to be retried", "handed back", "lapsed"}


@pytest.fixture
async def database(empty_url: str) -> AsyncIterator[Database]:
    """As it was, with a job in each state; and upgraded."""
    await migrate(empty_url, BEFORE)
    connection = await asyncpg.connect(empty_url)
    account = await connection.fetchval("INSERT INTO accounts (name, webhook_secret) VALUES ('old', '') RETURNING id")
    for name, state in STATES.items():
        columns, values = ("".join(f", {each}" for each in of) for of in (state.keys(), state.values()))
        job_id = await connection.fetchval(
            f"INSERT INTO jobs (account_id, request_id, fingerprint, dialect, submission, cost_s, work_kind{columns})"
            f" VALUES ($1, $2, '', 'tams', $3, 2, '101 19 DIFFUSION'{values}) RETURNING id",
            *(account, name, dumped(samples.submission(name))),
        )
        if state.get("status") == "'RUNNING'":
            await connection.execute("INSERT INTO job_events (job_id, attempt, kind) VALUES ($1, 1, 'STARTED')", job_id)
    await connection.close()
    await migrate(empty_url)
    async with open_database(empty_url) as opened:
        yield opened


@pytest.fixture
async def api(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[Api]:
    await OutlookBoard(redis).tell("new:1", **MEMBER)
    accounts = AccountStore(database)
    key = await accounts.new_key((await accounts.named("old")).id)
    async with open_app(options, database, redis) as opened, TestClient(TestServer(opened)) as client:
        yield Api(client, key)


async def jobs_of(api: Api) -> dict[str, dict[str, Any]]:
    status, listed = await api.call("GET", "/v1/jobs?limit=50")
    assert status == 200, listed
    return {job["requestId"]: await api.job(job["id"]) for job in listed["jobs"]}


async def test_they_are_told_of_as_they_stand(api: Api) -> None:
    told = await jobs_of(api)

    assert told.keys() == STATES.keys()
    for name in ("done", "failed", "canceled"):
        assert told[name]["status"] == STATES[name]["status"].strip("'")
    assert told["failed"]["failedInfo"]["reason"] == "no such file"
    assert told["running"]["status"] == "RUNNING" and "estimate" in told["running"]
    for name in QUEUED | {"delayed"}:
        assert (told[name]["status"], told[name]["isPossible"]) == ("WAITING", True)


async def test_those_that_wait_are_queued_foretold_and_run(api: Api, database: Database, redis: ArqRedis) -> None:
    queue, store = JobQueue(redis), JobStore(database)

    async def all_are_queued() -> bool:
        return await queue.length(POOL) == len(QUEUED)

    await until(all_are_queued)
    told = await jobs_of(api)
    for name in QUEUED - {"parked"}:
        assert {"startsIn", "endsIn"} == told[name]["estimate"].keys()
    run = set()
    while picked := await queue.pick("new:1", POOL, {}, 0.0):
        for job_id, attempt in picked:
            job = await one_job.claim(store, job_id, attempt, worker="new:1", lease=timedelta(minutes=1))
            assert job is not None
            await one_job.succeed(store, job, [])
            await queue.start((job_id, attempt))
            run.add(job.request_id)
    assert run == QUEUED


async def test_what_a_worker_hands_back_is_known_by_its_need_from_then_on(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    store, job_id = JobStore(database), int((await jobs_of(api))["new"]["id"])
    assert await one_job.claim(store, job_id, 1, worker="new:1", lease=timedelta(minutes=1))

    await store.hand_back(job_id, 1, reason="it cannot", need="103|DIFFUSION")

    assert (await one_job.get(store, job_id)).need == "103|DIFFUSION"
