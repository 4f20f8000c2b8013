"""How jobs get in: in batches, durable before the answer, and whatever becomes of Redis or of a neighbour."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.errors import RequestIdConflict
from jobs.job import QueuePlace
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, NewJob
from jobs.storage.redis_connection import open_redis
from orchestrator import batcher
from orchestrator import intake as module
from orchestrator.intake import Intake, open_intake
from tests.jobs.samples import NOON, new_job
from tests.orchestrator.looking import foresight


class Heavy(JobStore):
    """Notes the size of each batch; `held` keeps the next one back, `fault` breaks it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.batches: list[int] = []
        self.held = asyncio.Event()
        self.held.set()
        self.fault: Exception | None = None

    async def accept(self, new_jobs: Sequence[NewJob]) -> Any:
        self.batches.append(len(new_jobs))
        await self.held.wait()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return await super().accept(new_jobs)


@pytest.fixture
async def account_id(database: Database) -> int:
    return (await AccountStore(database).ensure("ours")).id


@pytest.fixture
def store(database: Database) -> Heavy:
    return Heavy(database)


@pytest.fixture
async def intake(store: Heavy, redis: ArqRedis) -> AsyncIterator[Intake]:
    async with open_intake(store, JobQueue(redis), foresight(redis), lambda: None) as opened:
        yield opened


@asynccontextmanager
async def silent_server() -> AsyncIterator[str]:
    """A Redis that takes every connection and never says a word."""
    silence = asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    silence.set()
    server.close()


async def test_a_crowd_shares_few_commits_and_each_gets_its_own_place(
    intake: Intake, store: Heavy, account_id: int
) -> None:
    jobs = [new_job(account_id, f"r-{i}", at=NOON + timedelta(seconds=i)) for i in range(100)]
    answers = await asyncio.gather(*(intake.accept(job) for job in jobs))

    assert sum(store.batches) == 100 and len(store.batches) <= 3
    assert all(answer.is_new for answer in answers)
    assert {answer.place.rank for answer in answers if answer.place} == set(range(1, 101))


async def test_a_lone_job_waits_for_nobody(intake: Intake, store: Heavy, account_id: int) -> None:
    accepted = await intake.accept(new_job(account_id))

    assert store.batches == [1]
    assert accepted.place == QueuePlace(rank=1, length=1, work_before_s=0)


async def test_a_crowd_that_comes_back_at_once_is_stored_in_halves(
    intake: Intake, store: Heavy, account_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "GATHER_WITHIN_S", 1)

    async def client(name: int) -> None:
        for turn in range(5):
            await intake.accept(new_job(account_id, f"r-{name}-{turn}"))
            await asyncio.sleep(0.002)  # the way there and back

    await asyncio.gather(*(client(name) for name in range(40)))

    assert sum(store.batches) == 200
    assert len(store.batches) <= 15 and max(store.batches[3:]) <= 30


async def test_after_a_crowd_a_few_do_not_wait_for_many(intake: Intake, store: Heavy, account_id: int) -> None:
    await asyncio.gather(*(intake.accept(new_job(account_id, f"r-{i}")) for i in range(100)))
    async with asyncio.timeout(2):
        await intake.accept(new_job(account_id, "late"))

    assert store.batches[-1] == 1


async def test_of_racing_bodies_the_first_is_the_job_and_each_other_hears_of_both(
    intake: Intake, account_id: int
) -> None:
    first, *others = await asyncio.gather(
        *(intake.accept(new_job(account_id, "one", body=f"body {i}")) for i in range(5)), return_exceptions=True
    )

    assert not isinstance(first, BaseException) and first.is_new
    for other in others:
        assert isinstance(other, RequestIdConflict)
        assert f"job {first.job.id}" in other.message


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), KeyError("x"), OSError("gone")])
async def test_a_batch_that_breaks_fails_alone(intake: Intake, store: Heavy, account_id: int, fault: Exception) -> None:
    store.fault = fault
    with pytest.raises(Exception):  # noqa: B017 - which one is not the promise
        await intake.accept(new_job(account_id, "unlucky"))

    assert (await intake.accept(new_job(account_id, "next"))).is_new


async def test_a_client_that_has_gone_does_not_disturb_its_neighbours(
    intake: Intake, store: Heavy, account_id: int
) -> None:
    store.held.clear()
    gone = asyncio.create_task(intake.accept(new_job(account_id, "gone")))
    neighbour = asyncio.create_task(intake.accept(new_job(account_id, "neighbour")))
    await asyncio.sleep(0)
    gone.cancel()
    store.held.set()

    assert (await neighbour).is_new
    assert (await intake.accept(new_job(account_id, "later"))).is_new


async def test_a_redis_that_never_answers_holds_no_job_up(
    store: Heavy, account_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_WITHIN_S", 0.1)
    told: list[str] = []
    async with (
        silent_server() as url,
        open_redis(url) as redis,
        open_intake(store, JobQueue(redis), foresight(redis), lambda: told.append("sweep soon")) as intake,
        asyncio.timeout(5),
    ):
        accepted = await intake.accept(new_job(account_id))

    assert accepted.is_new and accepted.place is None
    assert told == ["sweep soon"]
    assert (await store.get(account_id, accepted.job.id)).request_id == "r-1"
