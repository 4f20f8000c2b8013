"""How long a job may take is the account's to say: to start, to end, and for one attempt."""

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.catalog import Catalog
from jobs.job import FailureCode, JobStatus
from jobs.storage.cancels import open_cancels
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from orchestrator.app import WebOptions
from orchestrator.drafting import fingerprint_of
from orchestrator.sweeper import Sweeper
from tests import one_job
from tests.orchestrator import looking
from tests.orchestrator.conftest import Api, body, open_api

START, END, ATTEMPT = "Darkroom-Start-Within", "Darkroom-End-Within", "Darkroom-Attempt-Within"
LEASE = timedelta(minutes=1)


@pytest.fixture
def sweeper(database: Database, redis: ArqRedis) -> Sweeper:
    return looking.sweeper(database, redis)


async def accepted(api: Api, **bounds: str) -> int:
    headers = {name.replace("_", "-"): value for name, value in bounds.items()}
    status, answer = await api.call("POST", "/v1/jobs", json=body(), headers=headers)
    assert status == 200, answer
    return int(answer["job"]["id"])


async def age(database: Database, seconds: float) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE jobs SET created_at = created_at - $1 * interval '1 second'", seconds)


async def test_a_job_that_has_not_started_in_time_fails_and_leaves_the_line(
    api: Api, database: Database, redis: ArqRedis, sweeper: Sweeper
) -> None:
    jobs = JobStore(database)
    late, free = await accepted(api, Darkroom_Start_Within="30"), await accepted(api)
    await age(database, 29)
    await sweeper.sweep()
    in_time = (await one_job.get(jobs, late)).status
    await age(database, 2)

    # Nobody begins it any more, even where the sweeper has not come by yet.
    assert await one_job.claim(jobs, late, 1, worker="w", lease=LEASE) is None
    await sweeper.sweep()

    job = await one_job.get(jobs, late)
    assert (in_time, job.status) == (JobStatus.WAITING, JobStatus.FAILED)
    assert job.failure is not None and job.failure.code == FailureCode.TRANSITORY_ERROR
    assert "did not start within the time" in job.failure.reason
    assert [place and place.rank for place in await JobQueue(redis).places([(late, 1), (free, 1)])] == [None, 1]


async def test_a_job_that_has_started_in_time_may_be_tried_again_later(
    api: Api, database: Database, sweeper: Sweeper
) -> None:
    jobs, job_id = JobStore(database), await accepted(api, Darkroom_Start_Within="30")
    await one_job.claim(jobs, job_id, 1, worker="w", lease=LEASE)
    await jobs.requeue(job_id, 1, delay=timedelta(0), reason="as if it had failed")
    await age(database, 60)

    await sweeper.sweep()

    assert await one_job.claim(jobs, job_id, 2, worker="w", lease=LEASE) is not None


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_job_that_has_not_ended_in_time_fails_whatever_is_at_work(
    api: Api, database: Database, redis: ArqRedis, sweeper: Sweeper, is_running: bool
) -> None:
    jobs, job_id = JobStore(database), await accepted(api, Darkroom_End_Within="60.5")
    if is_running:
        await one_job.claim(jobs, job_id, 1, worker="w", lease=LEASE)
    await age(database, 60)
    await sweeper.sweep()
    in_time = (await one_job.get(jobs, job_id)).status
    await age(database, 1)

    await sweeper.sweep()

    job = await one_job.get(jobs, job_id)
    assert in_time != JobStatus.FAILED
    assert job.failure is not None and "did not end within the time" in job.failure.reason
    if is_running:
        # Its worker is told to stop.
        async with open_cancels(redis) as cancels:
            told = asyncio.Event()
            with cancels.when_canceled(job_id, 1, told.set):
                await asyncio.wait_for(told.wait(), 5)


async def test_the_bound_of_an_attempt_is_stored_for_the_worker(api: Api, database: Database) -> None:
    job_id = await accepted(api, Darkroom_Attempt_Within="1e2")

    assert (await one_job.get(JobStore(database), job_id)).submission.attempt_within_s == 100


async def test_a_repeat_has_the_same_bounds_and_with_others_is_refused(api: Api, database: Database) -> None:
    request = body()
    first = await api.call("POST", "/v1/jobs", json=request, headers={START: "30"})

    again = await api.call("POST", "/v1/jobs", json=request, headers={START: "3e1"})
    others = [
        await api.call("POST", "/v1/jobs", json=request, headers=headers)
        for headers in ({START: "60"}, {END: "30"}, {})
    ]

    assert again[1]["job"]["id"] == first[1]["job"]["id"]
    assert [status for status, _answer in others] == [409, 409, 409]
    assert (await one_job.get(JobStore(database), int(first[1]["job"]["id"]))).submission.start_within_s == 30


async def test_a_repeat_of_what_is_valid_no_more_has_the_same_bounds_too(
    options: WebOptions, database: Database, redis: ArqRedis, api: Api
) -> None:
    request = body(sdModel="102", width=768, height=768)
    first = await api.call("POST", "/v1/jobs", json=request, headers={START: "30"})
    without = replace(options, catalog=Catalog([options.catalog.default]))

    async with open_api(without, database, redis) as later:
        later.key = api.key
        again, other = [
            await later.call("POST", "/v1/jobs", json=request, headers={START: value}) for value in ("30", "60")
        ]

    assert (again[0], again[1]["job"]["id"]) == (200, first[1]["job"]["id"])
    assert other[0] == 409


def test_a_body_without_bounds_has_the_fingerprint_that_it_always_had() -> None:
    # Of jobs that were accepted before there were bounds.
    assert fingerprint_of({"b": 1, "a": "x"}, {}) == hashlib.sha256(b'{"a":"x","b":1}').digest()


@pytest.mark.parametrize("value", ["", "0", "-1", "1_0", "٣", "nan", "inf", "soon", "604801", "0x10"])
async def test_what_is_no_time_is_refused_by_the_headers_name(api: Api, value: str) -> None:
    headers: dict[str, Any] = {END: value, ATTEMPT: "5"}

    status, answer = await api.call("POST", "/v1/jobs", json=body(), headers=headers)

    assert (status, answer["code"]) == (400, 3)
    assert END in answer["message"] and ATTEMPT not in answer["message"]
