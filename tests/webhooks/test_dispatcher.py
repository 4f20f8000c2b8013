"""Callbacks arrive: once where all goes well, again with the same id where it does not, never out of order."""

import asyncio
import base64
import time
from datetime import timedelta

from standardwebhooks import Webhook

from jobs.deliveries import DeliveryState
from jobs.dialects.tams_response import job_body
from jobs.dialects.tams_signature import SCHEME, check_signature, read_public_key, read_signature
from jobs.job import JobView
from jobs.signing_keys import SigningKind, new_signing_key, written_public_key
from jobs.storage.account_store import AccountStore
from jobs.storage.delivery_log import DeliveryLog
from jobs.storage.delivery_store import Attempt, DeliveryStore, Rooms
from tests.until import until
from tests.webhooks.conftest import LEASE, Office
from tests.webhooks.receiver import Receiver, slow_head
from webhooks.listener import listening

ROOMS = Rooms(limit=10, strangers=10, each=10)


async def test_an_ended_job_is_told_once_signed_and_as_get_shows_it(office: Office, receiver: Receiver) -> None:
    job = await office.ended_job(receiver.url)

    async with office.dispatching():
        await office.has_states(job, ["DELIVERED"])

    ((headers, body),) = receiver.received
    secret = base64.b64encode(office.account.webhook_secret).decode()
    assert Webhook(f"whsec_{secret}").verify(body, headers) == job_body(JobView(job=job), office.links)


async def test_key_pairs_of_the_account_sign_too(office: Office, receiver: Receiver) -> None:
    accounts, keys = AccountStore(office.database), {kind: new_signing_key(kind) for kind in SigningKind}
    for kind, key in keys.items():
        await accounts.set_signing_key("tester", kind, key)
    job = await office.ended_job(f"{receiver.url}?a=%20b")
    named = await office.ended_job(receiver.url.replace("127.", "user:password@127."))

    async with office.dispatching():
        for each in (job, named):
            await office.has_states(each, ["DELIVERED"])

    (headers, body), (of_user, _) = sorted(receiver.received, key=lambda each: each[0]["authorization"], reverse=True)
    public = read_public_key(written_public_key(SigningKind.TAMS_RSA, keys[SigningKind.TAMS_RSA]).encode())
    claimed = read_signature(headers["authorization"].removeprefix(f"{SCHEME} "))
    check_signature(claimed, public, "POST", "/callback?a=%20b", body)
    assert [each[:3] for each in headers["webhook-signature"].split()] == ["v1,", "v1a"]
    assert of_user["authorization"].startswith("Basic "), "the address says how it wants to be called"


async def test_a_receiver_that_fails_is_tried_again_with_the_same_id(office: Office, receiver: Receiver) -> None:
    receiver.answers = [500, 404]
    job = await office.ended_job(receiver.url)

    async with office.dispatching():
        await office.has_states(job, ["DELIVERED"])

    assert len(receiver.received) == 3
    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 1


async def test_after_the_last_try_it_is_kept_as_dead(office: Office, receiver: Receiver) -> None:
    receiver.answers = [500] * 5
    job = await office.ended_job(receiver.url)

    async with office.dispatching(delays_s=(0.01,)):
        await office.has_states(job, ["DEAD"])

    assert len(receiver.received) == 2


async def test_an_address_that_is_not_allowed_is_never_called(office: Office, receiver: Receiver) -> None:
    by_address = await office.ended_job(receiver.url)
    by_name = await office.ended_job(receiver.url.replace("127.0.0.1", "localhost"))

    async with office.dispatching(allow=()):
        await office.has_states(by_address, ["DEAD"])
        await office.has_states(by_name, ["DEAD"])

    assert receiver.received == []


async def test_a_dispatcher_that_died_is_followed_by_another_with_the_same_id(
    office: Office, receiver: Receiver
) -> None:
    job = await office.ended_job(receiver.url)
    (claimed,) = await DeliveryStore(office.database).claim(ROOMS, claim=LEASE)
    none_left = await DeliveryStore(office.database).claim(ROOMS, claim=LEASE)
    await office.execute("UPDATE deliveries SET claimed_until = now() - interval '1 second'")

    async with office.dispatching():
        await office.has_states(job, ["DELIVERED"])

    assert none_left == []
    ((headers, _),) = receiver.received
    assert headers["webhook-id"] == f"msg_{claimed.id.hex}"


async def test_a_dispatcher_whose_claim_has_lapsed_settles_nothing(office: Office, receiver: Receiver) -> None:
    job = await office.ended_job(receiver.url)
    store = DeliveryStore(office.database)
    (late,) = await store.claim(ROOMS, claim=timedelta(seconds=-1))
    (_successor,) = await store.claim(ROOMS, claim=LEASE)

    await store.record(late, Attempt(seconds=1, error="late"), DeliveryState.DEAD)

    assert await office.states(job) == ["PENDING"]


async def test_two_dispatchers_share_the_work_and_double_nothing(office: Office, receiver: Receiver) -> None:
    jobs = [await office.ended_job(receiver.url) for _ in range(20)]

    async with office.dispatching(), office.dispatching():
        for job in jobs:
            await office.has_states(job, ["DELIVERED"])

    assert len({headers["webhook-id"] for headers, _ in receiver.received}) == len(receiver.received) == 20


async def test_no_more_are_sent_at_once_than_the_lane_is_wide_and_what_waits_is_given_back_at_the_end(
    office: Office, receiver: Receiver
) -> None:
    first = await office.ended_job(receiver.url)
    async with office.dispatching(concurrency=100, per_destination=2) as dispatcher:
        await office.has_states(first, ["DELIVERED"])
        receiver.silent.add("127.0.0.1")
        jobs = [await office.ended_job(receiver.url) for _ in range(10)]
        dispatcher.wake()
        await receiver.has_received(1 + 2)
        await until(lambda: _claimed(office, 10))
        dispatcher.stop()
        receiver.is_over.set()
        await until(lambda: _claimed(office, 0))

    assert len(receiver.received) == 1 + 2
    assert sorted([(await office.states(job))[0] for job in jobs]) == ["DELIVERED"] * 2 + ["PENDING"] * 8


async def _claimed(office: Office, number: int) -> bool:
    async with office.database.connection() as connection:
        return bool(await connection.fetchval("SELECT count(claimed_until) = $1 FROM deliveries", number))


async def test_what_waits_for_a_destination_that_fails_is_given_back(office: Office, receiver: Receiver) -> None:
    first = await office.ended_job(receiver.url)
    async with office.dispatching(concurrency=100, per_destination=2, delays_s=(60,)) as dispatcher:
        await office.has_states(first, ["DELIVERED"])
        receiver.always = slow_head(0.5, 500)
        for _ in range(10):
            await office.ended_job(receiver.url)
        dispatcher.wake()
        await until(lambda: _claimed(office, 10))
        await until(lambda: _claimed(office, 1))

        assert len(receiver.received) <= 1 + 2 + 2


async def test_a_new_callback_is_heard_of_at_once(office: Office, receiver: Receiver, database_url: str) -> None:
    async with office.dispatching() as dispatcher, listening(database_url, dispatcher.wake):
        await until(lambda: _someone_listens(office))
        began = time.perf_counter()
        await office.ended_job(receiver.url)
        await receiver.has_received(1)

    # Its own look comes every 5 s.
    assert time.perf_counter() - began < 2


async def _someone_listens(office: Office) -> bool:
    listening = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    async with office.database.connection() as connection:
        return bool(await connection.fetchval(listening))


async def test_receivers_that_never_answer_do_not_delay_one_that_does(office: Office, receiver: Receiver) -> None:
    job = await office.ended_job(receiver.url)
    silent = [f"127.0.1.{number}" for number in range(1, 101)]
    receiver.silent.update(silent)
    async with office.dispatching(concurrency=16) as dispatcher:
        await office.has_states(job, ["DELIVERED"])
        await office.tell(job, [receiver.at(host) for host in silent * 3])
        dispatcher.wake()
        await receiver.has_received(1 + 8)  # half of what may be under way
        await office.tell(job, [receiver.url + f"?{number}" for number in range(20)])
        dispatcher.wake()
        began = time.perf_counter()
        await receiver.has_received(1 + 8 + 20)
        took_s = time.perf_counter() - began
        receiver.is_over.set()

    assert took_s < 5, "the others are given up after 30 s"
    assert receiver.hosts[1:9] != ["127.0.0.1"] * 8 and receiver.hosts[9:29] == ["127.0.0.1"] * 20


async def test_a_test_arrives_signed_and_enables_a_destination_again(office: Office, receiver: Receiver) -> None:
    first = await office.ended_job(receiver.url)
    await office.execute("UPDATE destinations SET disabled_at = now(), failing_since = now(), failures = 99")
    await DeliveryLog(office.database).test(office.account.id, receiver.url)

    async with office.dispatching() as dispatcher:
        await receiver.has_received(2)
        await until(lambda: _is_enabled(office))
        job = await office.ended_job(receiver.url)
        dispatcher.wake()
        await office.has_states(job, ["DELIVERED"])

    assert await office.states(first) == ["DELIVERED"]
    (headers, body) = next(each for each in receiver.received if each[1] == b'{"test":true}')
    secret = base64.b64encode(office.account.webhook_secret).decode()
    assert Webhook(f"whsec_{secret}").verify(body, headers) == {"test": True}


async def _is_enabled(office: Office) -> bool:
    async with office.database.connection() as connection:
        return bool(await connection.fetchval("SELECT disabled_at IS NULL FROM destinations"))


async def test_a_fault_of_ours_uses_up_no_try_and_holds_up_no_other(office: Office, receiver: Receiver) -> None:
    await AccountStore(office.database).set_signing_key("tester", SigningKind.TAMS_RSA, b"no key")
    job = await office.ended_job(receiver.url)

    async with office.dispatching() as dispatcher:
        async with asyncio.timeout(15):
            while (put_off := await office.delivery(job))["wait"].total_seconds() < 30:
                await asyncio.sleep(0.01)
        await AccountStore(office.database).set_signing_key("tester", SigningKind.TAMS_RSA, None)
        later = await office.ended_job(receiver.url)
        dispatcher.wake()
        await office.has_states(later, ["DELIVERED"])
        await office.let_pass(timedelta(minutes=1))
        dispatcher.wake()
        await office.has_states(job, ["DELIVERED"])

    assert (put_off["tries"], put_off["claims"], put_off["claimed_until"]) == (0, 1, None)
    assert len(await office.attempts(job)) == 1
    async with office.database.connection() as connection:
        assert await connection.fetchval("SELECT max(failures) FROM destinations") == 0


async def test_a_job_that_cannot_be_read_holds_up_no_other(office: Office, receiver: Receiver) -> None:
    broken, whole = [await office.ended_job(receiver.url) for _ in range(2)]
    await office.execute("UPDATE jobs SET failure_code = 'OF_ANOTHER_VERSION' WHERE id = $1", broken.id)

    async with office.dispatching():
        await office.has_states(whole, ["DELIVERED"])

    put_off = await office.delivery(broken)
    assert (put_off["state"], put_off["tries"], put_off["claimed_until"]) == ("PENDING", 0, None)
    assert put_off["wait"] > timedelta(seconds=30)
