"""The list of an account's own jobs: complete, in order, and as fast for a rare status as for any."""

import json
from datetime import timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.job import JobStatus, Progress
from jobs.listing import EARLIEST, LATEST, MAX_ID
from jobs.storage.database import Database, queries
from jobs.storage.job_store import JobStore
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.redis_connection import open_redis
from orchestrator.app import WebOptions
from tests import one_job
from tests.jobs.samples import NOON, new_job
from tests.orchestrator.conftest import Api, body, open_api


async def listed(api: Api, query: str = "") -> dict[str, Any]:
    status, answer = await api.call("GET", f"/v1/jobs?{query}")
    assert status == 200, answer
    page: dict[str, Any] = answer
    return page


def ids(page: dict[str, Any]) -> list[str]:
    return [job["id"] for job in page["jobs"]]


async def accepted(api: Api, count: int) -> list[str]:
    return [(await api.post_job(body()))[1]["job"]["id"] for _ in range(count)]


async def claim(database: Database, job_id: str) -> None:
    assert await one_job.claim(JobStore(database), int(job_id), 1, worker="w", lease=timedelta(minutes=1))


async def test_each_job_is_told_as_get_tells_it(api: Api, database: Database, redis: ArqRedis) -> None:
    running, canceled, *waiting = await accepted(api, 4)
    await claim(database, running)
    progress = Progress(attempt=1, fraction=0.5, stage=1, step=10, steps=20)
    await ProgressBoard(redis).publish(int(running), progress)
    await api.call("DELETE", f"/v1/jobs/{canceled}")

    page = await listed(api)

    assert ids(page) == [*reversed(waiting), canceled, running]
    assert page == {"jobs": [await api.job(job_id) for job_id in ids(page)]}
    assert page["jobs"][-1]["runningInfo"]["step"] == 10


async def test_an_empty_cursor_is_the_first_page(api: Api) -> None:
    await api.post_job(body())

    assert (await api.call("GET", "/v1/jobs?cursor="))[1] == (await api.call("GET", "/v1/jobs"))[1]


async def test_all_pages_together_are_all_jobs_once_also_while_jobs_come_in(api: Api) -> None:
    known = await accepted(api, 5)
    seen, cursor = [], ""
    while True:
        page = await listed(api, f"limit=2{cursor}")
        seen += ids(page)
        if "nextCursor" not in page:
            break
        cursor = f"&cursor={page['nextCursor']}"
        await accepted(api, 1)

    assert seen == known[::-1]


async def test_jobs_of_one_moment_are_on_one_page_each(api: Api, database: Database) -> None:
    await accepted(api, 6)
    async with database.connection() as connection:
        await connection.execute("UPDATE jobs SET created_at = $1", NOON)

    first = await listed(api, "limit=3")
    second = await listed(api, f"limit=3&cursor={first['nextCursor']}")

    assert len({*ids(first), *ids(second)}) == 6 and "nextCursor" not in second


async def test_an_account_sees_its_own_jobs_only(api: Api, other: Api) -> None:
    (job_id,) = await accepted(api, 1)
    request_id = (await api.job(job_id))["requestId"]

    assert await listed(other) == await listed(other, f"requestId={request_id}") == {"jobs": []}


async def test_the_filters_narrow_the_list_together(api: Api, database: Database) -> None:
    account_id = await _account_of(api, database)
    created, *_ = await JobStore(database).accept(
        [new_job(account_id, f"r-{hour}", at=NOON + timedelta(hours=hour)) for hour in range(6)]
    )
    by_hour = [str(created[account_id, f"r-{hour}"]) for hour in range(6)]
    await api.call("DELETE", f"/v1/jobs/{by_hour[3]}")

    for query, hours in {
        "createdAfter=2026-05-01T13:00:00Z&createdBefore=2026-05-01T15:00:00Z": [2, 1],
        "createdAfter=2026-05-01T17:00:00Z": [5],
        "createdBefore=2026-05-01T12:00:00.000001Z": [0],
        "createdBefore=2026-05-01T14:00:00%2B02:00": [],
        "status=CANCELED": [3],
        "status=CANCELED&status=WAITING&createdAfter=2026-05-01T14:00:00Z": [5, 4, 3, 2],
        "status=SUCCESS": [],
        "requestId=r-2&status=CREATED": [2],
        "requestId=r-2": [2],
        "requestId=r-3&status=CANCELED": [3],
        "requestId=r-3&status=WAITING": [],
        "requestId=r-2&createdAfter=2026-05-01T15:00:00Z": [],
        "requestId=r-9": [],
    }.items():
        assert ids(await listed(api, query)) == [by_hour[hour] for hour in hours], query


async def test_a_period_and_a_cursor_go_together(api: Api, database: Database) -> None:
    account_id = await _account_of(api, database)
    new_jobs = [new_job(account_id, f"r-{hour}", at=NOON + timedelta(hours=hour)) for hour in range(6)]
    await JobStore(database).accept(new_jobs)
    period = "createdAfter=2026-05-01T13:00:00Z&createdBefore=2026-05-01T17:00:00Z"

    first = await listed(api, f"{period}&limit=2")
    second = await listed(api, f"{period}&limit=2&cursor={first['nextCursor']}")

    hours = [job["requestId"] for job in (*first["jobs"], *second["jobs"])]
    assert hours == ["r-4", "r-3", "r-2", "r-1"] and "nextCursor" not in second


@pytest.mark.parametrize("query", ["status=x", "limit=0", "createdAfter=x", "cursor=x", "page=1", "requestId=%00"])
async def test_what_is_wrong_is_refused_by_name(api: Api, query: str) -> None:
    status, answer = await api.call("GET", f"/v1/jobs?{query}")

    assert (status, answer["code"]) == (400, 3)
    assert query.partition("=")[0] in answer["details"][0]["fieldViolations"][0]["field"]


@pytest.mark.parametrize(
    "query", ["requestId=%ff", "requestId=%ed%a0%80", "%ff=%ff", "status=%00", "&&&=&", "cursor=%ff"]
)
async def test_strange_queries_are_no_servers_error(api: Api, query: str) -> None:
    status, _ = await api.call("GET", f"/v1/jobs?{query}")

    assert status in (200, 400)


async def test_places_that_redis_does_not_know_are_counted(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with open_redis("redis://127.0.0.1:1") as nowhere, open_api(options, database, nowhere) as api:
        job_ids = await accepted(api, 3)
        await claim(database, job_ids[1])

        page = await listed(api)

    places = [job.get("waitingInfo", {}).get("queueRank") for job in page["jobs"]]
    assert (ids(page), places) == (job_ids[::-1], ["2", None, "1"])


async def test_a_whole_page_is_two_calls_to_redis(
    options: WebOptions, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_api(options, database, redis) as api:
        job_ids = await accepted(api, 12)
        for job_id in job_ids[:6]:
            await claim(database, job_id)
        calls: list[str] = []
        for name in ("pipeline", "execute_command"):
            monkeypatch.setattr(redis, name, _counted(getattr(redis, name), calls))
        await listed(api)

    assert sorted(calls) == ["execute_command", "pipeline"]


@pytest.mark.parametrize("status", ["FAILED", None])
async def test_a_page_is_read_from_its_index_however_many_jobs_there_are(
    api: Api, database: Database, status: str | None
) -> None:
    account_id = await _account_of(api, database)
    async with database.connection() as connection:
        await connection.execute(MANY_JOBS, account_id)
        await connection.execute("ANALYZE jobs")
        query = queries.page_of_jobs.sql
        arguments = {
            "account_id": account_id,
            "statuses": [status] if status else [each.value for each in JobStatus],
            "created_after": EARLIEST,
            "created_before": LATEST,
            "last_time": LATEST,
            "last_id": MAX_ID,
            "limit": 21,
        }
        explained = await connection.fetchval(
            f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *(arguments[name] for name in PARAMETERS)
        )

    plan = json.loads(explained)[0]["Plan"]
    # 20 rows of each status, and what leads to them: not the 20,000 that are there.
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 200, explained


# In the order in which the query names them first.
PARAMETERS = ("statuses", "account_id", "created_after", "created_before", "last_time", "last_id", "limit")
# Ended long ago, but for the eldest: the rare status is where a look from the newest would come last.
MANY_JOBS = """
INSERT INTO jobs (account_id, request_id, fingerprint, dialect, submission, status, created_at)
SELECT $1, i, '', 'tams', '{}', CASE WHEN i <= 5 THEN 'FAILED' ELSE 'SUCCESS' END, now() + i * interval '1 second'
FROM generate_series(1, 20000) AS i
"""


def _counted(function: Any, calls: list[str]) -> Any:
    def call(*arguments: Any, **named: Any) -> Any:
        calls.append(function.__name__)
        return function(*arguments, **named)

    return call


async def _account_of(api: Api, database: Database) -> int:
    (job_id,) = await accepted(api, 1)
    async with database.connection() as connection:
        await connection.execute("DELETE FROM job_events")
        account_id = await connection.fetchval("DELETE FROM jobs WHERE id = $1 RETURNING account_id", int(job_id))
    return int(account_id)
