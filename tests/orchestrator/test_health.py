"""Whether the process answers, and whether it can do its work."""

from arq.connections import ArqRedis

from jobs.storage.database import Database
from jobs.storage.redis_connection import open_redis
from orchestrator.app import WebOptions
from tests.orchestrator.conftest import Api, body, open_api


async def test_it_is_ready_when_both_stores_answer(api: Api) -> None:
    assert await api.call("GET", "/healthz") == (200, {"status": "ok"})
    assert await api.call("GET", "/readyz") == (200, {"postgres": "ok", "redis": "ok"})


async def test_without_redis_it_says_so_and_still_accepts_jobs(options: WebOptions, database: Database) -> None:
    async with open_redis("redis://127.0.0.1:1") as nowhere, open_api(options, database, nowhere) as api:
        alive, ready = await api.call("GET", "/healthz"), await api.call("GET", "/readyz")
        status, answer = await api.post_job(body())
        job = await api.job(answer["job"]["id"])

    assert alive[0] == 200
    assert ready[0] == 503 and ready[1]["postgres"] == "ok" and ready[1]["redis"] != "ok"
    assert status == 200
    assert (job["status"], job["waitingInfo"]["queueRank"], job["waitingInfo"]["queueLen"]) == ("WAITING", "1", "1")


async def test_without_postgres_a_job_is_refused_for_now_and_nothing_is_half_made(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with open_api(options, database, redis) as api:
        assert (await api.post_job(body()))[0] == 200  # the key is known by now
        await database.close()
        status, answer = await api.post_job(body())

    assert (status, answer["code"]) == (503, 14)
