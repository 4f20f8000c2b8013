"""What crashes leave is mended."""

from datetime import timedelta

from arq.connections import ArqRedis

from jobs.job import JobStatus
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.outlook_board import OutlookBoard
from tests import one_job
from tests.orchestrator.conftest import Api, body
from tests.orchestrator.looking import sweeper
from tests.pools import MEMBER

MAX_ATTEMPTS = 2


async def test_a_job_whose_worker_fell_silent_goes_back_to_its_place(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    jobs, queue = JobStore(database), JobQueue(redis)
    first, second = await _accepted(api, 2)
    await one_job.claim(jobs, first, 1, worker="dead:1", lease=timedelta(seconds=-1))
    await queue.remove((first, 1))

    await sweeper(database, redis, max_attempts=MAX_ATTEMPTS).sweep()

    assert (await one_job.get(jobs, first)).status == JobStatus.WAITING
    places = await queue.places([(first, 2), (second, 1)])
    assert [place and place.rank for place in places] == [1, 2]


async def test_a_worker_whose_lease_has_lapsed_is_not_counted_any_more(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    jobs, board = JobStore(database), OutlookBoard(redis)
    first, second = await _accepted(api, 2)
    await one_job.claim(jobs, first, 1, worker="dead:1", lease=timedelta(seconds=-1))
    await one_job.claim(jobs, second, 1, worker="alive:2", lease=timedelta(minutes=1))
    for worker in ("dead:1", "alive:2"):
        await board.tell(worker, **MEMBER, busy_s=0.0, cost_s=9.0)

    await sweeper(database, redis, max_attempts=MAX_ATTEMPTS).sweep()

    alive = await board.alive()
    assert "alive:2" in alive and "dead:1" not in alive


async def test_a_job_that_loses_each_worker_fails_and_calls_back(api: Api, database: Database, redis: ArqRedis) -> None:
    jobs = JobStore(database)
    _, answer = await api.post_job(body() | {"notifyUrl": "http://127.0.0.1:9/"})
    job_id = int(answer["job"]["id"])
    for attempt in range(1, MAX_ATTEMPTS + 1):
        await one_job.claim(jobs, job_id, attempt, worker="dead:1", lease=timedelta(seconds=-1))
        await sweeper(database, redis, max_attempts=MAX_ATTEMPTS).sweep()

    job = await api.job(str(job_id))
    assert (job["status"], job["failedInfo"]["code"]) == ("FAILED", "FATAL_ERROR")
    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM deliveries WHERE kind = 'TERMINAL'") == 1


async def test_a_lease_that_holds_is_left_alone(api: Api, database: Database, redis: ArqRedis) -> None:
    jobs = JobStore(database)
    (job_id,) = await _accepted(api, 1)
    await one_job.claim(jobs, job_id, 1, worker="alive:1", lease=timedelta(minutes=1))

    await sweeper(database, redis, max_attempts=MAX_ATTEMPTS).sweep()

    job = await one_job.get(jobs, job_id)
    assert (job.status, job.attempt) == (JobStatus.RUNNING, 1)


async def test_a_parked_job_is_left_alone_until_its_account_has_room(
    api: Api, database: Database, redis: ArqRedis
) -> None:
    jobs, queue = JobStore(database), JobQueue(redis)
    first, second = await _accepted(api, 2)
    await _execute(database, "UPDATE accounts SET max_running = 0")
    await one_job.claim(jobs, first, 1, worker="busy:1", lease=timedelta(minutes=1))
    await queue.remove((first, 1))
    await _execute(database, "UPDATE jobs SET parked_at = parked_at - interval '1 minute'")

    await sweeper(database, redis, max_attempts=MAX_ATTEMPTS).sweep()
    assert await _places(redis, [first, second]) == [None, (1, 1)]
    await _execute(database, "UPDATE accounts SET max_running = 1")
    await sweeper(database, redis, max_attempts=MAX_ATTEMPTS).sweep()

    assert await _places(redis, [first, second]) == [(1, 2), (2, 2)]


async def _accepted(api: Api, count: int) -> list[int]:
    answers = [await api.post_job(body()) for _ in range(count)]
    return [int(answer["job"]["id"]) for _, answer in answers]


async def _places(redis: ArqRedis, ids: list[int]) -> list[tuple[int, int] | None]:
    """Rank and length."""
    places = await JobQueue(redis).places((job_id, 1) for job_id in ids)
    return [place and (place.rank, place.length) for place in places]


async def _execute(database: Database, statement: str) -> None:
    async with database.connection() as connection:
        await connection.execute(statement)
