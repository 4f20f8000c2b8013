"""`runningNotifyUrl` hears of the start, of the newest progress, and of the end: in this order, and nothing stale."""

import json
import time
from datetime import timedelta

from jobs.deliveries import DeliveryState
from jobs.job import Job
from tests import one_job
from tests.until import until
from tests.webhooks.conftest import LEASE, Office
from tests.webhooks.receiver import Receiver, slow_head


def heard(receiver: Receiver) -> list[tuple[str, int | None]]:
    """Status and step of each call."""
    jobs = [json.loads(body)["job"] for _, body in receiver.received]
    return [(job["status"], job.get("runningInfo", {}).get("step")) for job in jobs]


async def look_now(office: Office) -> None:
    await office.execute("UPDATE deliveries SET next_try_at = now() WHERE kind = 'PROGRESS'")


async def test_the_start_the_newest_progress_and_the_end_are_told_in_order(office: Office, receiver: Receiver) -> None:
    job = await office.running_job(running_notify_url=receiver.url)
    async with office.dispatching() as dispatcher:
        await receiver.has_received(1)
        await look_now(office)
        for step in (3, 7):
            await office.step(job, step)
            dispatcher.wake()
            await receiver.has_received(2 if step == 3 else 3)
        await until(lambda: _is_told(office, job, "/7/"))
        await one_job.succeed(office.jobs, job, [])
        dispatcher.wake()
        await office.has_states(job, ["DELIVERED", "SUPERSEDED", "DELIVERED"])

    assert heard(receiver) == [("RUNNING", None), ("RUNNING", 3), ("RUNNING", 7), ("SUCCESS", None)]
    sequences = [int(headers["darkroom-sequence"]) for headers, _ in receiver.received]
    assert sequences == sorted(set(sequences))
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 4


async def test_a_slow_receiver_hears_of_fewer_steps_and_only_of_the_newest(office: Office, receiver: Receiver) -> None:
    job = await office.running_job(running_notify_url=receiver.url)
    async with office.dispatching() as dispatcher:
        await receiver.has_received(1)
        receiver.answers = [slow_head(0.5)]
        await look_now(office)
        await office.step(job, 1)
        dispatcher.wake()
        await receiver.has_received(2)
        for step in (2, 3, 4, 5):
            await office.step(job, step)
            dispatcher.wake()
        await receiver.has_received(3)

    assert heard(receiver) == [("RUNNING", None), ("RUNNING", 1), ("RUNNING", 5)]


async def test_what_is_known_is_not_told_again(office: Office, receiver: Receiver) -> None:
    job = await office.running_job(running_notify_url=receiver.url)
    await office.step(job, 4)
    async with office.dispatching() as dispatcher:
        await receiver.has_received(1)
        await until(lambda: _is_told(office, job, None, "RUNNING"))
        for _ in range(3):
            await look_now(office)
            dispatcher.wake()
            await until(lambda: _was_looked_at(office, job))

    assert heard(receiver) == [("RUNNING", 4)]


async def test_progress_that_could_not_be_told_is_not_told_late(office: Office, receiver: Receiver) -> None:
    job = await office.running_job(running_notify_url=receiver.url)
    async with office.dispatching() as dispatcher:
        await receiver.has_received(1)
        receiver.answers = [500]
        await office.step(job, 1)
        await look_now(office)
        dispatcher.wake()
        await office.has_attempts(job, 2)
        await office.step(job, 9)
        await look_now(office)
        dispatcher.wake()
        await receiver.has_received(3)

    assert heard(receiver)[1:] == [("RUNNING", 1), ("RUNNING", 9)]
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 3


async def test_the_end_does_not_wait_for_a_receiver_that_is_slow_with_progress(
    office: Office, receiver: Receiver
) -> None:
    job = await office.running_job(running_notify_url=receiver.url)
    async with office.dispatching() as dispatcher:
        await receiver.has_received(1)
        receiver.answers = [slow_head(20)]
        await office.step(job, 1)
        await look_now(office)
        dispatcher.wake()
        await receiver.has_received(2)
        await one_job.succeed(office.jobs, job, [])
        began = time.perf_counter()
        dispatcher.wake()
        await receiver.has_received(3)
        took_s = time.perf_counter() - began
        await office.has_states(job, ["DELIVERED", "SUPERSEDED", "DELIVERED"])

    assert took_s < 5, "its answer would have come after 20 s"
    assert heard(receiver)[-1] == ("SUCCESS", None)


async def test_nothing_is_told_of_a_start_when_the_job_has_ended(office: Office, receiver: Receiver) -> None:
    job = await office.running_job(running_notify_url=receiver.url)
    await office.step(job, 5)
    await one_job.succeed(office.jobs, job, [])
    await look_now(office)

    async with office.dispatching():
        await office.has_states(job, ["SUPERSEDED", "SUPERSEDED", "DELIVERED"])

    assert heard(receiver) == [("SUCCESS", None)]


async def test_nothing_is_told_of_an_attempt_that_was_lost(office: Office, receiver: Receiver) -> None:
    job = await office.running_job(running_notify_url=receiver.url)
    await office.step(job, 5)
    await office.jobs.requeue(job.id, 1, delay=timedelta(0), reason="again")
    await look_now(office)
    async with office.dispatching() as dispatcher:
        await office.has_states(job, ["SUPERSEDED", "SUPERSEDED"])
        assert receiver.received == []
        await one_job.claim(office.jobs, job.id, 2, worker="w", lease=LEASE)
        await look_now(office)
        dispatcher.wake()
        await receiver.has_received(1)

    assert heard(receiver) == [("RUNNING", None)]


async def _is_told(office: Office, job: Job, mark: str | None, kind: str = "PROGRESS") -> bool:
    query = "SELECT told, state FROM deliveries WHERE job_id = $1 AND kind = $2"
    async with office.database.connection() as connection:
        row = await connection.fetchrow(query, job.id, kind)
    return mark in (row["told"] or "") if mark else row["state"] == DeliveryState.DELIVERED


async def _was_looked_at(office: Office, job: Job) -> bool:
    query = (
        "SELECT next_try_at > now() FROM deliveries WHERE job_id = $1 AND kind = 'PROGRESS' AND claimed_until IS NULL"
    )
    async with office.database.connection() as connection:
        return bool(await connection.fetchval(query, job.id))
