"""DELETE of a job, and its twin: the job ends, and says so."""

from datetime import timedelta

import pytest
from arq.connections import ArqRedis

from jobs.job import Failure, FailureCode
from jobs.storage.database import Database
from jobs.storage.job_store import JobStore
from jobs.storage.redis_connection import open_redis
from orchestrator.app import WebOptions
from tests import one_job
from tests.orchestrator.conftest import Api, body, open_api


async def accepted(api: Api) -> str:
    _, answer = await api.post_job(body())
    return str(answer["job"]["id"])


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v1/jobs/{}"), ("POST", "/v1/jobs/{}/cancel")])
async def test_a_canceled_job_leaves_the_line_at_once(api: Api, method: str, path: str) -> None:
    job_id, next_one = await accepted(api), await accepted(api)

    status, answer = await api.call(method, path.format(job_id))

    assert (status, answer) == (200, {"jobId": job_id, "job_id": job_id})
    job = await api.job(job_id)
    assert job["status"] == "CANCELED" and "failedInfo" not in job
    assert (await api.job(next_one))["waitingInfo"]["queueRank"] == "1"


async def test_a_second_cancel_is_answered_like_the_first(api: Api) -> None:
    job_id = await accepted(api)

    answers = [await api.call("DELETE", f"/v1/jobs/{job_id}") for _ in range(2)]

    assert answers[0] == answers[1] == (200, {"jobId": job_id, "job_id": job_id})


async def test_a_job_that_has_failed_cannot_be_canceled(api: Api, database: Database) -> None:
    job_id = await accepted(api)
    jobs = JobStore(database)
    await one_job.claim(jobs, int(job_id), 1, worker="w", lease=timedelta(minutes=1))
    await jobs.fail(int(job_id), 1, Failure(code=FailureCode.FATAL_ERROR, reason="x"))

    status, answer = await api.call("DELETE", f"/v1/jobs/{job_id}")

    assert (status, answer["code"]) == (400, 9)
    assert "FAILED" in answer["message"]


@pytest.mark.parametrize("path", ["/v1/jobs/{}", "/v1/jobs/x", "/v1/jobs/0", "/v1/jobs/99999"])
async def test_what_is_not_the_accounts_own_is_not_found(api: Api, other: Api, path: str) -> None:
    job_id = await accepted(api)

    status, answer = await other.call("DELETE", path.format(job_id))

    assert (status, answer["code"]) == (404, 5)
    assert (await api.job(job_id))["status"] == "WAITING"


async def test_a_stranger_cancels_nothing(api: Api) -> None:
    job_id = await accepted(api)

    for method, path in (("DELETE", f"/v1/jobs/{job_id}"), ("POST", f"/v1/jobs/{job_id}/cancel")):
        status, answer = await api.call(method, path, headers={"Authorization": "Bearer wrong"})
        assert (status, answer["code"]) == (401, 16)

    assert (await api.job(job_id))["status"] == "WAITING"


async def test_a_job_can_be_canceled_while_redis_is_away(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with open_redis("redis://127.0.0.1:1") as nowhere, open_api(options, database, nowhere) as api:
        job_id = await accepted(api)

        status, _ = await api.call("DELETE", f"/v1/jobs/{job_id}")

        assert status == 200
        assert (await api.job(job_id))["status"] == "CANCELED"
