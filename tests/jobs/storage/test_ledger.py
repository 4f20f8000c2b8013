"""Credits and limits: what is held, charged and refused is right to the last digit, whoever writes and however many."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from jobs.errors import AttemptLost, InsufficientCredits, NotFound, TooManyWaiting
from jobs.job import Failure, FailureCode, Job
from jobs.standing import Limits, Standing
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.job_store import Acceptance, JobStore, Waiting
from jobs.storage.ledger import Ledger
from jobs.turn import Turn
from tests import one_job
from tests.jobs.samples import NOON, new_job
from tests.jobs.storage.conftest import Rows
from tests.until import until

LEASE = timedelta(minutes=1)
LAPSED = timedelta(seconds=-1)
NO_DELAY = timedelta(0)
FAILURE = Failure(code=FailureCode.FATAL_ERROR, reason="it cannot be")
CANCEL = "UPDATE jobs SET status = 'CANCELED' WHERE id = $1 AND status IN ('WAITING', 'RUNNING')"
# Every account that is not as its ledger and its jobs say, in one snapshot.
WRONG = """
    SELECT * FROM accounts WHERE
    balance <> (SELECT coalesce(sum(amount), 0) FROM ledger WHERE account_id = accounts.id)
    OR (held, waiting, running) <> (
        SELECT coalesce(sum(credits), 0), count(*) FILTER (WHERE status = 'WAITING'),
            count(*) FILTER (WHERE status = 'RUNNING')
        FROM jobs WHERE account_id = accounts.id AND status IN ('WAITING', 'RUNNING'))
    OR credits_enforced AND held > balance
    OR running > max_running
"""
MISCHARGED = """
    SELECT jobs.id FROM jobs FULL JOIN (SELECT * FROM ledger WHERE kind = 'CHARGE') AS charge ON charge.job_id = jobs.id
    WHERE (status = 'SUCCESS' AND credits > 0) <> (charge.id IS NOT NULL) OR amount <> -credits
"""


@pytest.fixture
def ledger(database: Database) -> Ledger:
    return Ledger(database)


@pytest.fixture
async def poor(ledger: Ledger, account_id: int) -> int:
    """Our account, with 2 credits and no more."""
    await ledger.grant("ours", Decimal(2))
    await ledger.limit("ours", {"credits_enforced": True})
    return account_id


async def standing(ledger: Ledger) -> tuple[str, str, int, int]:
    ours = await ledger.standing("ours")
    return str(ours.balance), str(ours.held), ours.waiting, ours.running


async def claimed(jobs: JobStore, job_id: int, lease: timedelta = LEASE) -> Job:
    job = await one_job.claim(jobs, job_id, 1, worker="w", lease=lease)
    assert job is not None
    return job


async def accepted(jobs: JobStore, account_id: int, request_id: str = "r-1", credits: str = "0.8") -> int:
    created, *_ = await jobs.accept([new_job(account_id, request_id, credits=credits)])
    return created[account_id, request_id]


async def test_a_job_is_held_from_acceptance_and_charged_at_success(
    jobs: JobStore, ledger: Ledger, rows: Rows, poor: int
) -> None:
    job_id = await accepted(jobs, poor)
    assert await standing(ledger) == ("2.0000", "0.8000", 1, 0)

    job = await claimed(jobs, job_id)
    assert await standing(ledger) == ("2.0000", "0.8000", 0, 1)
    await one_job.succeed(jobs, job, [])

    assert await standing(ledger) == ("1.2000", "0.0000", 0, 0)
    entries = await rows("SELECT account_id, job_id, kind, amount FROM ledger ORDER BY id")
    assert entries == [
        {"account_id": poor, "job_id": None, "kind": "GRANT", "amount": Decimal(2)},
        {"account_id": poor, "job_id": job_id, "kind": "CHARGE", "amount": Decimal("-0.8")},
    ]
    assert (await jobs.get(poor, job_id)).credits == Decimal("0.8")


@pytest.mark.parametrize("end", ["fail", "cancel waiting", "cancel running", "lose the last worker"])
async def test_a_job_that_ends_otherwise_costs_nothing(
    jobs: JobStore, ledger: Ledger, rows: Rows, poor: int, end: str
) -> None:
    job_id = await accepted(jobs, poor)
    if end != "cancel waiting":
        await claimed(jobs, job_id, LAPSED if end == "lose the last worker" else LEASE)
    match end:
        case "fail":
            await jobs.fail(job_id, 1, FAILURE)
        case "lose the last worker":
            await jobs.take_back_lapsed(max_attempts=1)
        case _:
            await rows(CANCEL, job_id)

    assert await standing(ledger) == ("2.0000", "0.0000", 0, 0)
    assert await rows("SELECT id FROM ledger WHERE kind = 'CHARGE'") == []


async def test_another_attempt_holds_once(jobs: JobStore, ledger: Ledger, poor: int) -> None:
    job = await claimed(jobs, await accepted(jobs, poor))

    await jobs.requeue(job.id, 1, delay=NO_DELAY, reason="again")

    assert await standing(ledger) == ("2.0000", "0.8000", 1, 0)


async def test_a_repeat_holds_nothing_and_is_never_refused(jobs: JobStore, ledger: Ledger, poor: int) -> None:
    job_id = await accepted(jobs, poor, credits="2")

    again = await jobs.accept([new_job(poor, credits="2"), new_job(poor, credits="2")])

    assert [job.id for job in again.known] == [job_id] and not again.refused
    assert await standing(ledger) == ("2.0000", "2.0000", 1, 0)


async def test_what_cannot_be_paid_is_refused_with_the_facts_and_its_neighbours_are_not(
    jobs: JobStore, database: Database, ledger: Ledger, poor: int
) -> None:
    rich = (await AccountStore(database).ensure("rich")).id
    await accepted(jobs, poor, "earlier", "0.7")
    batch = [
        new_job(poor, "too dear", credits="1.4"),
        new_job(rich, "another account", credits="1000"),
        new_job(poor, "affordable", credits="1"),
        new_job(poor, "affordable", credits="1"),
        new_job(poor, "earlier", credits="0.7"),
        new_job(poor, "no longer", credits="0.4"),
        new_job(poor, "the last drop", credits="0.3"),
    ]

    created, known, refused = await jobs.accept(batch)

    assert set(created) == {(rich, "another account"), (poor, "affordable"), (poor, "the last drop")}
    assert [job.request_id for job in known] == ["earlier"]
    assert set(refused) == {(poor, "too dear"), (poor, "no longer")}
    refusal = refused[poor, "no longer"]
    assert isinstance(refusal, InsufficientCredits)
    assert refusal.facts == {"price": "0.4", "balance": "2", "held": "1.7"}
    assert "costs 0.4 credits" in refusal.message and "balance is 2," in refusal.message
    assert await standing(ledger) == ("2.0000", "2.0000", 3, 0)


async def test_of_many_batches_at_once_as_many_jobs_are_accepted_as_can_be_paid(
    jobs: JobStore, ledger: Ledger, poor: int
) -> None:
    batches = [[new_job(poor, f"{i}-{j}", credits="0.3") for j in range(3)] for i in range(8)]

    accepted = await asyncio.gather(*map(jobs.accept, batches))

    assert sum(len(each.created) for each in accepted) == 6  # 1.8 of 2
    assert sum(len(each.refused) for each in accepted) == 18
    assert await standing(ledger) == ("2.0000", "1.8000", 6, 0)


async def test_an_account_is_unlimited_unless_told_otherwise(jobs: JobStore, ledger: Ledger, account_id: int) -> None:
    job_id = await accepted(jobs, account_id, credits="5000")

    await one_job.succeed(jobs, await claimed(jobs, job_id), [])

    assert await standing(ledger) == ("-5000.0000", "0.0000", 0, 0)


async def test_a_full_queue_refuses_more_until_a_job_has_started(
    jobs: JobStore, ledger: Ledger, account_id: int
) -> None:
    await ledger.limit("ours", {"max_waiting": 2})
    jobs_of = [new_job(account_id, name) for name in "abc"]

    created, _, refused = await jobs.accept(jobs_of)

    assert [name for _, name in created] == ["a", "b"]
    refusal = refused[account_id, "c"]
    assert isinstance(refusal, TooManyWaiting) and refusal.facts == {"waiting": "2", "maxWaiting": "2"}
    await claimed(jobs, created[account_id, "a"])
    assert not (await jobs.accept(jobs_of)).refused
    assert (await ledger.standing("ours")).waiting == 2


async def test_of_claims_at_once_no_more_succeed_than_the_account_may_run(
    jobs: JobStore, ledger: Ledger, rows: Rows, account_id: int
) -> None:
    await ledger.limit("ours", {"max_running": 2})
    ids = [await accepted(jobs, account_id, f"r-{i}") for i in range(8)]

    claims = await asyncio.gather(*(one_job.claim(jobs, job_id, 1, worker="w", lease=LEASE) for job_id in ids))

    assert len([job for job in claims if job]) == 2
    assert (await ledger.standing("ours")).running == 2
    parked = await rows("SELECT attempt FROM jobs WHERE status = 'WAITING'")
    assert parked == [{"attempt": 0}] * 6


async def test_a_parked_job_waits_for_room_and_the_first_come_is_the_first_to_go(
    jobs: JobStore, ledger: Ledger, account_id: int
) -> None:
    await ledger.limit("ours", {"max_running": 1})
    batch = [new_job(account_id, name, at=NOON + timedelta(seconds=i)) for i, name in enumerate("abc")]
    created, *_ = await jobs.accept(batch)
    a, b, c = (created[account_id, name] for name in "abc")
    running = await claimed(jobs, a)
    assert [await one_job.claim(jobs, each, 1, worker="w", lease=LEASE) for each in (c, b)] == [None, None]
    assert await jobs.unpark(parked_for=NO_DELAY) == [] and await jobs.waiting_after(0, limit=10) == []

    await one_job.succeed(jobs, running, [])

    assert await jobs.unpark(parked_for=NO_DELAY) == [Waiting(b, 1, batch[1].cost_s, Turn(account_id, batch[1].cost_s))]
    assert (await claimed(jobs, b)).id == b
    assert await jobs.unpark(parked_for=NO_DELAY) == []
    await ledger.limit("ours", {"max_running": None})
    assert [each.job_id for each in await jobs.unpark(parked_for=NO_DELAY)] == [c]


async def test_room_is_given_once_while_what_was_given_it_waits_for_its_claim(
    jobs: JobStore, ledger: Ledger, account_id: int
) -> None:
    await ledger.limit("ours", {"max_running": 0})
    ids = [await accepted(jobs, account_id, f"r-{i}") for i in range(6)]
    assert [await one_job.claim(jobs, each, 1, worker="w", lease=LEASE) for each in ids] == [None] * 6
    await ledger.limit("ours", {"max_running": 2})

    given = [[each.job_id for each in await jobs.unpark(parked_for=NO_DELAY)] for _ in range(3)]
    running = await claimed(jobs, ids[0])
    after_a_claim = await jobs.unpark(parked_for=NO_DELAY)
    await one_job.succeed(jobs, running, [])

    assert given == [ids[:2], [], []] and after_a_claim == []
    assert [each.job_id for each in await jobs.unpark(parked_for=NO_DELAY)] == [ids[2]]
    await jobs.cancel(account_id, ids[1])
    assert [each.job_id for each in await jobs.unpark(parked_for=NO_DELAY)] == [ids[3]]


async def test_without_a_limit_parked_jobs_come_back_page_by_page(
    jobs: JobStore, ledger: Ledger, account_id: int
) -> None:
    await ledger.limit("ours", {"max_running": 0})
    ids = [await accepted(jobs, account_id, f"r-{i}") for i in range(5)]
    assert [await one_job.claim(jobs, each, 1, worker="w", lease=LEASE) for each in ids] == [None] * 5
    await ledger.limit("ours", {"max_running": None})

    pages = [[each.job_id for each in await jobs.unpark(parked_for=NO_DELAY, limit=3)] for _ in range(2)]

    assert pages == [ids[:3], ids[3:]]


async def test_a_job_is_not_unparked_before_its_time(jobs: JobStore, ledger: Ledger, account_id: int) -> None:
    await ledger.limit("ours", {"max_running": 0})
    job_id = await accepted(jobs, account_id)
    await one_job.claim(jobs, job_id, 1, worker="w", lease=LEASE)
    await ledger.limit("ours", {"max_running": 1})

    assert await jobs.unpark(parked_for=LEASE) == []
    assert len(await jobs.unpark(parked_for=NO_DELAY)) == 1


async def test_a_signal_for_a_job_that_is_gone_parks_nothing(
    jobs: JobStore, ledger: Ledger, rows: Rows, account_id: int
) -> None:
    await ledger.limit("ours", {"max_running": 0})
    job_id = await accepted(jobs, account_id)
    await rows(CANCEL, job_id)
    before = await rows("SELECT * FROM jobs")

    assert await one_job.claim(jobs, job_id, 1, worker="w", lease=LEASE) is None

    assert await rows("SELECT * FROM jobs") == before


async def test_a_grant_adds_and_an_adjustment_takes_back(ledger: Ledger, rows: Rows, account_id: int) -> None:
    await ledger.grant("ours", Decimal("10.5"), "paid")
    after = await ledger.grant("ours", Decimal("-0.5001"))

    assert after == await ledger.standing("ours")
    assert after == Standing(balance=Decimal("9.9999"), held=Decimal(0), waiting=0, running=0, limits=Limits())
    assert await rows("SELECT kind, note FROM ledger ORDER BY id") == [
        {"kind": "GRANT", "note": "paid"},
        {"kind": "ADJUST", "note": None},
    ]


async def test_limits_that_are_not_named_stay(ledger: Ledger, account_id: int) -> None:
    await ledger.limit("ours", {"credits_enforced": True, "max_waiting": 5})
    await ledger.limit("ours", {"max_waiting": None, "max_running": 3})

    limits = (await ledger.standing("ours")).limits
    assert limits == Limits(credits_enforced=True, max_waiting=None, max_running=3)


async def test_an_account_that_is_not_there_is_named(ledger: Ledger, rows: Rows) -> None:
    for asked in (ledger.standing("nobody"), ledger.grant("nobody", Decimal(1)), ledger.limit("nobody", {})):
        with pytest.raises(NotFound, match="'nobody'"):
            await asked
    assert await rows("SELECT id FROM ledger") == []


@pytest.mark.parametrize("change", ["UPDATE ledger SET amount = 5", "DELETE FROM ledger", "TRUNCATE ledger"])
async def test_the_ledger_is_append_only(ledger: Ledger, rows: Rows, account_id: int, change: str) -> None:
    await ledger.grant("ours", Decimal(1))

    with pytest.raises(asyncpg.RaiseError, match="append-only"):
        await rows(change)

    assert len(await rows("SELECT id FROM ledger WHERE amount = 1")) == 1


async def test_a_repeat_that_meets_its_job_at_its_end_waits_for_nobody_who_waits_for_it(
    jobs: JobStore, database: Database, rows: Rows, account_id: int
) -> None:
    job = await claimed(jobs, await accepted(jobs, account_id))
    repeat = (
        "INSERT INTO jobs (account_id, request_id, fingerprint, dialect, submission)"
        " VALUES ($1, 'r-1', '', 'tams', '{}') ON CONFLICT DO NOTHING"
    )

    async with database.transaction() as acceptance:
        await acceptance.execute("SELECT 1 FROM accounts WHERE id = $1 FOR NO KEY UPDATE", account_id)
        ending = asyncio.create_task(jobs.fail(job.id, 1, FAILURE))
        await until(lambda: _someone_waits(rows))
        await acceptance.execute(repeat, account_id)

    await ending
    assert await rows("SELECT status FROM jobs") == [{"status": "FAILED"}]


async def _someone_waits(rows: Rows) -> bool:
    return bool(await rows("SELECT pid FROM pg_locks WHERE NOT granted"))


ACCOUNTS = 200
ACTORS = 10
DEEDS = 80
PRICES = ("0", "0.2", "0.8", "1.6", "3.3333", "0.0001")


@dataclass
class World:
    """Accounts of every kind, and actors that do to their jobs what clients, workers, sweepers and operators do."""

    database: Database
    jobs: JobStore
    ledger: Ledger
    accounts: list[tuple[int, str, bool]]
    sent: list[tuple[int, str]] = field(default_factory=list)
    waiting: list[tuple[int, int]] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    deeds: dict[str, int] = field(default_factory=dict)

    async def act(self, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(DEEDS):
            (deed,) = chance.choices(
                (self.submit, self.claim, self.end, self.cancel, self.break_off, self.sweep, self.grant),
                (6, 12, 9, 1, 1, 2, 2),
            )
            try:
                await deed(chance)
            except AttemptLost:
                self.count("attempts lost")

    def count(self, what: str, number: int = 1) -> None:
        self.deeds[what] = self.deeds.get(what, 0) + number

    async def submit(self, chance: random.Random) -> None:
        keys = [self.key(chance) for _ in range(chance.randint(1, 30))]
        batch = [new_job(*key, credits=chance.choice(PRICES)) for key in keys]
        outcome = await self.jobs.accept(batch)
        self.check(batch, outcome)
        self.sent += keys
        self.waiting += [(job_id, 1) for job_id in outcome.created.values()]
        self.count("accepted", len(outcome.created))
        self.count("known", len(outcome.known))
        self.count("refused", len(outcome.refused))

    def key(self, chance: random.Random) -> tuple[int, str]:
        if self.sent and chance.random() < 0.2:
            return chance.choice(self.sent)
        account_id, _, _ = chance.choice(self.accounts)
        return account_id, str(chance.randrange(10**9))

    def check(self, batch: Sequence[Any], outcome: Acceptance) -> None:
        """Each job has one fate."""
        fates = [*outcome.created, *((job.account_id, job.request_id) for job in outcome.known), *outcome.refused]
        assert sorted(fates) == sorted({job.key for job in batch})

    async def claim(self, chance: random.Random) -> None:
        if self.waiting:
            job_id, attempt = self.waiting.pop(chance.randrange(len(self.waiting)))
            lease = chance.choice((LEASE, LEASE, LAPSED))
            job = await one_job.claim(self.jobs, job_id, attempt, worker="w", lease=lease)
            self.running += [job] if job else []
            self.count("claimed" if job else "not claimed")

    async def end(self, chance: random.Random) -> None:
        if self.running:
            job = self.running.pop(chance.randrange(len(self.running)))
            match chance.choice(("succeed", "succeed", "fail", "requeue")):
                case "succeed":
                    await one_job.succeed(self.jobs, job, [])
                case "fail":
                    await self.jobs.fail(job.id, job.attempt, FAILURE)
                case "requeue":
                    await self.jobs.requeue(job.id, job.attempt, delay=NO_DELAY, reason="again")
                    self.waiting.append((job.id, job.attempt + 1))

    async def cancel(self, chance: random.Random) -> None:
        known = [*(job_id for job_id, _ in self.waiting), *(job.id for job in self.running)]
        for job_id in chance.sample(known, min(len(known), 3)):
            async with self.database.connection() as connection:
                await connection.execute(CANCEL, job_id)

    async def break_off(self, chance: random.Random) -> None:
        """A process that dies before its commit."""
        if self.waiting:
            job_id, _ = chance.choice(self.waiting)
            async with self.database.connection() as connection:
                transaction = connection.transaction()
                await transaction.start()
                await connection.execute(CANCEL, job_id)
                await transaction.rollback()

    async def sweep(self, _chance: random.Random) -> None:
        await self.jobs.take_back_lapsed(max_attempts=3)
        retried = await self.jobs.retried(limit=20)
        unparked = await self.jobs.unpark(parked_for=NO_DELAY)
        self.waiting += [(each.job_id, each.attempt) for each in (*retried, *unparked)]
        self.count("unparked", len(unparked))

    async def grant(self, chance: random.Random) -> None:
        _, name, is_enforced = chance.choice(self.accounts)
        # What is taken back from an account may leave it with more held than it has.
        await self.ledger.grant(name, Decimal(chance.randint(1 if is_enforced else -50_000, 50_000) or 1) / 10_000)


async def world(database: Database, ledger: Ledger, rows: Rows) -> World:
    """Account n has n / 3 credits; three of four must not spend more, and some may have few jobs waiting or running."""
    await rows(
        """
        INSERT INTO accounts (name, webhook_secret, credits_enforced, max_waiting, max_running)
        SELECT n, '', n % 4 <> 0, nullif(n % 7, 0), nullif(n % 3, 0) FROM generate_series(1, $1) AS n
        """,
        ACCOUNTS,
    )
    await rows("INSERT INTO ledger (account_id, kind, amount) SELECT id, 'GRANT', name::numeric / 3 FROM accounts")
    accounts = await rows("SELECT id, name, credits_enforced FROM accounts")
    return World(database, JobStore(database), ledger, [tuple(each.values()) for each in accounts])


async def test_whatever_happens_at_once_the_books_are_right_to_the_last_digit(
    database: Database, ledger: Ledger, rows: Rows
) -> None:
    there = await world(database, ledger, rows)

    looks = 0
    async with asyncio.TaskGroup() as group:
        actors = [group.create_task(there.act(seed)) for seed in range(ACTORS)]
        while not all(actor.done() for actor in actors):
            assert await rows(WRONG) == []
            looks += 1
            await asyncio.sleep(0.1)

    assert await rows(WRONG) == [] and await rows(MISCHARGED) == []
    assert looks > 3
    # All of it has happened: otherwise the test would promise more than it looked at.
    assert all(
        there.deeds.get(what) for what in ("accepted", "known", "refused", "claimed", "attempts lost", "unparked")
    )
    ended = {row["status"] for row in await rows("SELECT DISTINCT status FROM jobs")}
    assert ended >= {"SUCCESS", "FAILED", "CANCELED"}
