"""The outbox: each callback is claimed by one, again after a lapse, and never out of order."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from jobs.deliveries import DeliveryState
from jobs.job import Failure, FailureCode
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.delivery_store import Attempt, Delivery, DeliveryStore, Rooms
from jobs.storage.job_store import JobStore
from tests import one_job
from tests.jobs.samples import new_job
from tests.jobs.storage.conftest import Rows

CLAIM = timedelta(minutes=1)
LAPSED = timedelta(seconds=-1)
FAILURE = Failure(code=FailureCode.FATAL_ERROR, reason="it cannot be")
DONE = Attempt(seconds=0.1, status=204)
FAILED = Attempt(seconds=0.1, status=500, error="broken")
ONE = "http://a.example/one"


async def started(jobs: JobStore, account_id: int, request_id: str = "r-1", **urls: Any) -> int:
    created, *_ = await jobs.accept([new_job(account_id, request_id, **urls)])
    job_id = created[account_id, request_id]
    await one_job.claim(jobs, job_id, 1, worker="w", lease=timedelta(minutes=1))
    return job_id


async def ended(jobs: JobStore, account_id: int, request_id: str = "r-1", **urls: Any) -> int:
    job_id = await started(jobs, account_id, request_id, **urls)
    await jobs.fail(job_id, 1, FAILURE)
    return job_id


async def claim(deliveries: DeliveryStore, lease: timedelta = CLAIM, limit: int = 10) -> list[Delivery]:
    return await deliveries.claim(Rooms(limit=limit, strangers=limit, each=limit), claim=lease)


async def test_a_due_row_is_claimed_with_what_its_sender_needs(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int, rows: Rows
) -> None:
    job_id = await ended(jobs, account_id, notify_url=ONE)

    (delivery,) = await claim(deliveries)

    (account,) = await rows("SELECT webhook_secret FROM accounts")
    assert (delivery.job_id, delivery.url, delivery.kind, delivery.tries) == (job_id, ONE, "TERMINAL", 0)
    assert delivery.secrets == (account["webhook_secret"],)


async def test_a_claimed_row_is_not_claimed_again(jobs: JobStore, deliveries: DeliveryStore, account_id: int) -> None:
    for i in range(20):
        await ended(jobs, account_id, f"r-{i}", notify_url=ONE)

    batches = await asyncio.gather(*(claim(deliveries, limit=7) for _ in range(6)))

    claimed = [each.id for batch in batches for each in batch]
    assert all(len(batch) <= 7 for batch in batches)
    assert len(claimed) == len(set(claimed)) == 20


async def test_a_lapsed_claim_is_made_again_with_the_same_id_and_counts_as_no_try(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int
) -> None:
    await ended(jobs, account_id, notify_url=ONE)

    (first,) = await claim(deliveries, LAPSED)
    (second,) = await claim(deliveries)

    assert (second.id, second.tries, second.claims) == (first.id, 0, 2)


async def test_what_is_given_back_may_be_claimed_at_once_but_not_by_who_has_lost_it(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int
) -> None:
    await ended(jobs, account_id, notify_url=ONE)
    (lost,) = await claim(deliveries, LAPSED)
    (held,) = await claim(deliveries)

    await deliveries.give_back([lost])
    while_held = await claim(deliveries)
    await deliveries.give_back([held])
    (again,) = await claim(deliveries)

    assert while_held == []
    assert (again.id, again.tries) == (held.id, 0)


async def test_an_older_try_settles_nothing(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int, rows: Rows
) -> None:
    await ended(jobs, account_id, notify_url=ONE)
    (late,) = await claim(deliveries, LAPSED)
    (current,) = await claim(deliveries)
    before = await rows("SELECT * FROM deliveries")

    await deliveries.record(late, FAILED, DeliveryState.DEAD)
    await deliveries.record(late, FAILED, DeliveryState.PENDING, CLAIM)
    await deliveries.lay_aside(late, DeliveryState.DEAD)

    assert await rows("SELECT * FROM deliveries") == before
    await deliveries.record_delivered([(current, DONE)])
    assert await rows("SELECT state, last_status FROM deliveries") == [{"state": "DELIVERED", "last_status": 204}]


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.DEAD])
async def test_a_settled_row_is_never_claimed(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int, state: DeliveryState
) -> None:
    await ended(jobs, account_id, notify_url=ONE)
    (delivery,) = await claim(deliveries, LAPSED)

    await deliveries.record(delivery, DONE, state)

    assert await claim(deliveries) == []
    assert await deliveries.seconds_to_next() is None


async def test_a_postponed_row_is_due_after_its_delay(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int
) -> None:
    await ended(jobs, account_id, notify_url=ONE)
    (delivery,) = await claim(deliveries)

    await deliveries.record(delivery, FAILED, DeliveryState.PENDING, timedelta(seconds=100))

    assert await claim(deliveries) == []
    seconds = await deliveries.seconds_to_next()
    assert seconds is not None and 90 < seconds <= 100


async def test_the_end_waits_while_the_start_is_in_flight_to_the_same_address(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int
) -> None:
    job_id = await started(jobs, account_id, running_notify_url=ONE)
    (running,) = await claim(deliveries)
    await jobs.fail(job_id, 1, FAILURE)

    assert await claim(deliveries) == []

    await deliveries.record_delivered([(running, DONE)])
    (end,) = await claim(deliveries)
    assert (running.kind, end.kind) == ("RUNNING", "TERMINAL")


async def test_a_start_that_was_not_delivered_never_follows_the_end(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int, rows: Rows
) -> None:
    job_id = await started(jobs, account_id, running_notify_url=ONE)
    (running,) = await claim(deliveries)
    await jobs.fail(job_id, 1, FAILURE)

    await deliveries.record(running, FAILED, DeliveryState.PENDING, timedelta(0))

    assert [each.kind for each in await claim(deliveries)] == ["TERMINAL"]
    states = {row["kind"]: row["state"] for row in await rows("SELECT kind, state FROM deliveries")}
    assert states["RUNNING"] == "SUPERSEDED"


async def test_a_settled_try_does_not_bring_a_superseded_row_back(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int, rows: Rows
) -> None:
    job_id = await started(jobs, account_id, running_notify_url=ONE)
    (running,) = await claim(deliveries)
    await jobs.fail(job_id, 1, FAILURE)

    await deliveries.record(running, FAILED, DeliveryState.DEAD)

    assert {"state": "SUPERSEDED"} in await rows("SELECT state FROM deliveries WHERE kind = 'RUNNING'")


async def test_a_new_attempt_supersedes_what_was_to_be_told_of_the_one_before(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int
) -> None:
    job_id = await started(jobs, account_id, running_notify_url=ONE)
    (first,) = await claim(deliveries)
    await jobs.requeue(job_id, 1, delay=timedelta(0), reason="again")
    await one_job.claim(jobs, job_id, 2, worker="w", lease=timedelta(minutes=1))

    nothing = await claim(deliveries)
    superseded = await deliveries.superseded_of([first])
    await deliveries.lay_aside(first, DeliveryState.SUPERSEDED)
    (second,) = await claim(deliveries)

    assert nothing == [] and superseded == {first.id}
    assert (first.kind, second.kind) == ("RUNNING", "RUNNING") and first.id != second.id


async def test_progress_follows_the_start_one_at_a_time_with_growing_sequences(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int, rows: Rows
) -> None:
    job_id = await started(jobs, account_id, running_notify_url=ONE)
    await rows("UPDATE deliveries SET next_try_at = now()")
    sent = []
    for _ in range(3):
        (delivery,) = await claim(deliveries)
        assert await claim(deliveries) == [], "both are due, and one is under way"
        is_start = delivery.kind == "RUNNING"
        sent.append(delivery)
        state = DeliveryState.DELIVERED if is_start else DeliveryState.PENDING
        await deliveries.record(delivery, DONE, state, None if is_start else timedelta(0))
    await jobs.fail(job_id, 1, FAILURE)
    sent += await claim(deliveries)

    assert [each.kind for each in sent] == ["RUNNING", "PROGRESS", "PROGRESS", "TERMINAL"]
    sequences = [each.sequence for each in sent]
    assert sequences == sorted(set(sequences))
    assert len({each.message_id for each in sent}) == 4


async def test_a_repeat_has_the_sequence_of_the_first_try(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int
) -> None:
    await ended(jobs, account_id, notify_url=ONE)
    (first,) = await claim(deliveries)
    await deliveries.record(first, FAILED, DeliveryState.PENDING, timedelta(0))
    (second,) = await claim(deliveries)

    assert (second.sequence, second.message_id) == (first.sequence, first.message_id)


async def test_a_secret_that_was_rotated_signs_until_its_time_has_passed(
    database: Database, jobs: JobStore, deliveries: DeliveryStore, account_id: int, rows: Rows
) -> None:
    accounts = AccountStore(database)
    old = (await accounts.named("ours")).webhook_secret
    new = (await accounts.rotate_webhook_secret("ours", timedelta(hours=1))).webhook_secret
    await ended(jobs, account_id, notify_url=ONE)

    (both,) = await claim(deliveries, LAPSED)
    await rows("UPDATE retired_secrets SET expires_at = now()")
    (one,) = await claim(deliveries)

    assert (both.secrets, one.secrets) == ((new, old), (new,)) and new != old
    await accounts.rotate_webhook_secret("ours", timedelta(hours=1))
    assert [row["secret"] for row in await rows("SELECT secret FROM retired_secrets")] == [new]


async def test_other_addresses_and_other_jobs_do_not_wait(
    jobs: JobStore, deliveries: DeliveryStore, account_id: int
) -> None:
    await ended(jobs, account_id, "r-1", notify_url=ONE, running_notify_url="http://a.example/two")
    await ended(jobs, account_id, "r-2", notify_url=ONE)

    assert len(await claim(deliveries)) == 3
