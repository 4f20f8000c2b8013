"""How jobs get in: in batches, durable before the answer, and whatever becomes of Redis or of a neighbour."""

import asyncio
import gc
import gzip
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import pytest
import structlog
from arq.connections import ArqRedis

from jobs.account import Account
from jobs.credits import Rates
from jobs.errors import InvalidSubmission, RequestIdConflict
from jobs.links import Links
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.event_store import EventStore
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, NewJob
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.redis_connection import open_direct, open_redis
from jobs.storage.resource_store import ResourceStore
from orchestrator import batcher
from orchestrator import entering as module
from orchestrator import intake as line
from orchestrator.drafting import Draft, Drafting
from orchestrator.entering import Entering
from orchestrator.intake import Intake, Taken, open_intake
from orchestrator.job_views import JobViews
from orchestrator.running_times import RunningTimes
from orchestrator.telling import Telling
from tests.jobs.dialects.parsing import CATALOG
from tests.jobs.samples import Clock, body
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
async def account(database: Database) -> Account:
    return await AccountStore(database).ensure("ours")


@pytest.fixture
def store(database: Database) -> Heavy:
    return Heavy(database)


@pytest.fixture
async def intake(store: Heavy, database: Database, redis: ArqRedis) -> AsyncIterator[Intake]:
    async with opened(store, database, redis) as intake:
        yield intake


@asynccontextmanager
async def opened(
    store: JobStore, database: Database, redis: ArqRedis, on_unqueued: Callable[[], None] = lambda: None
) -> AsyncIterator[Intake]:
    looking, queue, now = foresight(redis), JobQueue(redis), Clock()
    drafting = Drafting(
        catalog=CATALOG,
        rates=Rates(),
        foresight=looking,
        resources=ResourceStore(database),
        max_body_bytes=100_000,
        now=now,
    )
    views = JobViews(store, queue, ProgressBoard(redis), looking, RunningTimes(EventStore(database)))
    telling = Telling(views, looking, Links("http://darkroom.example", b"secret", now))
    async with open_direct(redis) as direct:
        entering = Entering(store, JobQueue(direct), looking, on_unqueued)
        async with open_intake(drafting, entering, telling) as intake:
            yield intake


def draft(account: Account, request_id: str = "r-1", *, text: str = "a barn") -> Draft:
    return Draft(account, orjson.dumps(body(request_id, prompts=[{"text": text}])))


async def turns_of_others(intake: Intake, account: Account) -> int:
    """How often others are served while fifty bodies are read."""
    pending = [batcher.Pending[Draft, Taken](draft(account, f"r-{i}")) for i in range(50)]
    batch, turns = asyncio.ensure_future(intake._draft(pending)), 0
    while not batch.done():
        turns += 1
        await asyncio.sleep(0)
    return turns


def broken(draft: Draft) -> None:
    """A step with a bug, for one of the next two."""
    if draft.submission.request_id == "odd":
        raise RuntimeError("a bug")


async def odd_and_even(intake: Intake, account: Account) -> list[Taken | BaseException]:
    both = (intake.take_in(draft(account, name)) for name in ("odd", "even"))
    return await asyncio.gather(*both, return_exceptions=True)


def told(taken: Taken) -> Any:
    return orjson.loads(taken.body)["job"]


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
    intake: Intake, store: Heavy, account: Account
) -> None:
    answers = await asyncio.gather(*(intake.take_in(draft(account, f"r-{i}")) for i in range(100)))

    assert sum(store.batches) == 100 and len(store.batches) <= 3
    assert {told(answer)["waitingInfo"]["queueRank"] for answer in answers} == {str(i) for i in range(1, 101)}


async def test_a_lone_job_waits_for_nobody(intake: Intake, store: Heavy, account: Account) -> None:
    waiting = told(await intake.take_in(draft(account)))["waitingInfo"]

    assert store.batches == [1]
    assert (waiting["queueRank"], waiting["queueLen"]) == ("1", "1")


async def test_a_crowd_that_comes_back_at_once_is_stored_in_halves(
    intake: Intake, store: Heavy, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "GATHER_WITHIN_S", 1)

    async def client(name: int) -> None:
        for turn in range(5):
            await intake.take_in(draft(account, f"r-{name}-{turn}"))
            await asyncio.sleep(0.002)  # the way there and back

    await asyncio.gather(*(client(name) for name in range(40)))

    assert sum(store.batches) == 200
    assert len(store.batches) <= 15 and max(store.batches[3:]) <= 30


async def test_after_a_crowd_a_few_do_not_wait_for_many(intake: Intake, store: Heavy, account: Account) -> None:
    await asyncio.gather(*(intake.take_in(draft(account, f"r-{i}")) for i in range(100)))
    async with asyncio.timeout(2):
        await intake.take_in(draft(account, "late"))

    assert store.batches[-1] == 1


async def test_of_racing_bodies_one_is_the_job_and_each_other_hears_of_both(intake: Intake, account: Account) -> None:
    answers = await asyncio.gather(
        *(intake.take_in(draft(account, "one", text=f"barn {i}")) for i in range(5)), return_exceptions=True
    )

    (taken,) = (each for each in answers if isinstance(each, Taken))
    others = [each for each in answers if isinstance(each, RequestIdConflict)]
    assert len(others) == 4
    assert all(f"job {taken.job.id}" in other.message for other in others)


@pytest.mark.parametrize("fault", [RuntimeError("a bug"), KeyError("x"), OSError("gone")])
async def test_a_batch_that_breaks_fails_alone(
    intake: Intake, store: Heavy, account: Account, fault: Exception
) -> None:
    store.fault = fault
    with pytest.raises(Exception):  # noqa: B017 - which one is not the promise
        await intake.take_in(draft(account, "unlucky"))

    assert (await intake.take_in(draft(account, "next"))).job.request_id == "next"


async def test_a_client_that_has_gone_does_not_disturb_its_neighbours(
    intake: Intake, store: Heavy, account: Account
) -> None:
    store.held.clear()
    gone = asyncio.create_task(intake.take_in(draft(account, "gone")))
    neighbour = asyncio.create_task(intake.take_in(draft(account, "neighbour")))
    await asyncio.sleep(0)
    gone.cancel()
    store.held.set()

    assert (await neighbour).job.request_id == "neighbour"
    assert (await intake.take_in(draft(account, "later"))).job.request_id == "later"


async def test_a_redis_that_never_answers_holds_no_job_up(
    store: Heavy, database: Database, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUEUE_WITHIN_S", 0.1)
    unqueued: list[str] = []
    async with (
        silent_server() as url,
        open_redis(url) as redis,
        opened(store, database, redis, lambda: unqueued.append("fill soon")) as intake,
        asyncio.timeout(5),
    ):
        taken = await intake.take_in(draft(account))

    assert "waitingInfo" not in told(taken)
    assert unqueued == ["fill soon"]
    assert (await store.get(account.id, taken.job.id)).request_id == "r-1"


async def test_what_is_wrong_with_one_body_is_told_to_its_sender_alone(
    intake: Intake, store: Heavy, account: Account
) -> None:
    wrong = Draft(account, orjson.dumps(body("wrong", steps=1000)))
    first, second, third, fourth = await asyncio.gather(
        intake.take_in(draft(account, "first")),
        intake.take_in(Draft(account, b"{")),
        intake.take_in(wrong),
        intake.take_in(draft(account, "fourth")),
        return_exceptions=True,
    )

    assert isinstance(first, Taken) and isinstance(fourth, Taken)
    assert (first.job.request_id, fourth.job.request_id) == ("first", "fourth")
    assert isinstance(second, InvalidSubmission) and "cannot be read as JSON" in second.message
    assert isinstance(third, InvalidSubmission) and [each.path for each in third.faults] == [
        "stages[1].diffusion.steps"
    ]
    assert sum(store.batches) == 2


async def test_a_large_body_is_read_before_it_joins_others(
    intake: Intake, store: Heavy, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    together = intake._draft

    async def noting(batch: Sequence[Any]) -> Any:
        read.extend(len(each.item.packed) for each in batch if not each.item.is_read)
        return await together(batch)

    monkeypatch.setattr(intake, "_draft", noting)
    large = Draft(account, orjson.dumps(body("large", prompts=[{"text": "a barn"}])) + b" " * 70_000)
    packed = Draft(account, gzip.compress(orjson.dumps(body("packed"))), "gzip")
    taken = await asyncio.gather(*(intake.take_in(each) for each in (large, packed)))
    with pytest.raises(InvalidSubmission):
        await intake.take_in(Draft(account, b"[" * 70_000))

    assert [each.job.request_id for each in taken] == ["large", "packed"]
    assert read == []


async def test_a_fault_of_ours_in_reading_fails_one_job(
    intake: Intake, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafting = intake._drafting
    monkeypatch.setattr(drafting, "pricing", (broken, *drafting.pricing))
    odd, even = await odd_and_even(intake, account)

    assert isinstance(odd, RuntimeError)
    assert isinstance(even, Taken)


async def test_a_refused_body_keeps_none_of_its_batch_in_memory(intake: Intake, account: Account) -> None:
    drafts = [draft(account, f"r-{i}") for i in range(20)] + [Draft(account, orjson.dumps(body("wrong", steps=1000)))]
    alive = [weakref.ref(each) for each in drafts]
    gc.collect()
    gc.disable()
    try:
        answers = [asyncio.ensure_future(intake.take_in(each)) for each in drafts]
        del drafts
        await asyncio.wait(answers)
        assert isinstance(answers[-1].exception(), InvalidSubmission)
        await asyncio.sleep(0.05)  # the batch's own tasks end
        del answers

        assert sum(each() is not None for each in alive) <= 1
    finally:
        gc.enable()


async def test_what_cannot_be_told_of_one_job_is_told_of_its_neighbours(
    intake: Intake, store: Heavy, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    telling = intake._telling
    monkeypatch.setattr(telling, "of_new", (broken, *telling.of_new))
    odd, even = await odd_and_even(intake, account)

    assert isinstance(odd, RuntimeError) and await store.find(account.id, "odd")
    assert isinstance(even, Taken)


@pytest.mark.parametrize("unfit", [asyncpg.DataError, asyncpg.NotNullViolationError, orjson.JSONEncodeError])
async def test_of_rows_that_are_stored_one_by_one_each_has_its_own_end(
    intake: Intake, store: Heavy, account: Account, unfit: type[Exception]
) -> None:
    accept = store.accept

    async def choosy(new_jobs: Sequence[NewJob]) -> Any:
        names = [job.submission.request_id for job in new_jobs]
        if len(names) > 1 or names == ["odd"]:
            raise unfit("cannot be held")
        if names == ["broken"]:
            raise RuntimeError("a bug")
        return await accept(new_jobs)

    store.accept = choosy  # type: ignore[method-assign]
    first, odd, broken, last = await asyncio.gather(
        *(intake.take_in(draft(account, name)) for name in ("first", "odd", "broken", "last")), return_exceptions=True
    )

    assert isinstance(odd, unfit) and isinstance(broken, RuntimeError)
    assert isinstance(first, Taken) and isinstance(last, Taken)
    assert (first.job.request_id, last.job.request_id) == ("first", "last")


async def test_another_batch_goes_on_between_two_steps_of_many(
    intake: Intake, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "YIELD_EVERY_S", 0)

    assert await turns_of_others(intake, account) >= len(intake._drafting.reading) + len(intake._drafting.pricing)


async def test_others_are_served_while_many_bodies_are_read(
    intake: Intake, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line, "LOOP_HELD_UP_S", 0)

    assert await turns_of_others(intake, account) > 50


async def test_a_repeat_beside_new_jobs_is_told_of_the_job_there_is(intake: Intake, account: Account) -> None:
    before = await intake.take_in(draft(account, "again"))
    again, new = await asyncio.gather(intake.take_in(draft(account, "again")), intake.take_in(draft(account, "new")))

    assert again.job.id == before.job.id != new.job.id
    assert told(again)["waitingInfo"]["queueRank"] == "1"
    assert told(new)["waitingInfo"]["queueRank"] == "2"


async def test_one_line_of_the_log_tells_of_all_jobs_of_a_second(
    store: Heavy, database: Database, redis: ArqRedis, account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TELL_WITHIN_S", 0.2)
    with structlog.testing.capture_logs() as lines:
        async with opened(store, database, redis) as intake:
            first = [await intake.take_in(draft(account, f"r-{i}")) for i in range(3)]
            assert lines == []
            await asyncio.sleep(0.4)
            last = await intake.take_in(draft(account, "r-3"))

    told_of = [{"jobs": 3, "last": first[-1].job.id}, {"jobs": 1, "last": last.job.id}]
    assert lines == [{"event": "jobs_accepted", "log_level": "info", **each} for each in told_of]
