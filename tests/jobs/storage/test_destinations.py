"""A destination that fails is closed, probed, opened again, and at last disabled: all others go on."""

import asyncio
from datetime import timedelta

import pytest

from jobs.deliveries import DeliveryState
from jobs.storage.database import Database
from jobs.storage.delivery_store import TRIP, Attempt, Delivery, DeliveryStore, Room, Rooms
from jobs.storage.job_store import JobStore
from tests.jobs.storage.conftest import Rows
from tests.jobs.storage.test_delivery_store import CLAIM, DONE, FAILED, ONE, ended

DEAD, ALIVE = "http://dead.example/hook", "http://alive.example/hook"
MANY = Rooms(limit=100, strangers=100, each=100)


@pytest.fixture
async def job_id(jobs: JobStore, account_id: int) -> int:
    return await ended(jobs, account_id)


class Post:
    """Makes callbacks of one job, and lets time pass for their destinations."""

    def __init__(self, database: Database, deliveries: DeliveryStore, job_id: int) -> None:
        self._database = database
        self.deliveries = deliveries
        self.job_id = job_id

    async def add(self, url: str, count: int = 1) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "INSERT INTO deliveries (job_id, url, kind) SELECT $1, $2 || '?' || i, 'TERMINAL' "
                "FROM generate_series(1, $3::integer) AS i",
                *(self.job_id, url, count),
            )

    async def claim(self, rooms: Rooms = MANY) -> list[Delivery]:
        return await self.deliveries.claim(rooms, claim=CLAIM)

    async def fail(self, delivery: Delivery) -> bool:
        return await self.deliveries.record(delivery, FAILED, DeliveryState.PENDING, timedelta(0))

    async def close(self) -> None:
        """Fails so often that all but the probes are kept back."""
        await self.add(DEAD, TRIP)
        for delivery in await self.claim():
            await self.fail(delivery)

    async def let_pass(self, time: timedelta) -> None:
        async with self._database.connection() as connection:
            await connection.execute(
                "UPDATE destinations SET closed_until = closed_until - $1::interval, "
                "failing_since = failing_since - $1::interval",
                time,
            )


@pytest.fixture
def post(database: Database, deliveries: DeliveryStore, job_id: int) -> Post:
    return Post(database, deliveries, job_id)


async def test_a_destination_is_an_accounts_scheme_host_and_port(post: Post, rows: Rows) -> None:
    for url in ("https://user:secret@A.example:8443/x?y=//z@", "https://a.example:8443/other", "http://a.example"):
        await post.add(url)

    origins = [row["origin"] for row in await rows("SELECT origin FROM destinations ORDER BY id")]
    assert origins == ["https://a.example:8443", "http://a.example"]


async def test_the_hosts_that_an_account_may_not_have_share_one_destination(
    post: Post, job_id: int, rows: Rows, database: Database
) -> None:
    urls = [f"http://{number}.example/hook" for number in range(300)]
    async with database.connection() as connection:
        add = "INSERT INTO deliveries (job_id, url, kind) SELECT $1, unnest($2::text[]), 'TERMINAL'"
        await connection.execute(add, job_id, urls)
    await post.add(urls[0])

    shared = await rows(
        "SELECT url FROM deliveries JOIN destinations ON destinations.id = destination_id "
        "WHERE origin = '*' ORDER BY created_at, url"
    )
    assert len(await rows("SELECT id FROM destinations")) == 257
    assert sorted(row["url"] for row in shared) == sorted(urls[256:])


async def test_one_gets_as_many_as_its_room_and_the_first_of_each_go_first(post: Post) -> None:
    await post.add(DEAD, 10)
    await post.add(ALIVE, 10)

    first = await post.claim(Rooms(limit=4, strangers=4, each=3))

    assert sorted(each.url.partition("?")[0] for each in first) == [ALIVE, ALIVE, DEAD, DEAD]
    full = {each.destination_id: Room(0, 2, False) for each in first if each.url.startswith(DEAD)}
    rest = await post.claim(Rooms(limit=4, strangers=4, each=3, known=full))
    assert [each.url.partition("?")[0] for each in rest] == [ALIVE] * 3


async def test_who_has_the_least_under_way_goes_first(post: Post) -> None:
    await post.add(DEAD, 5)
    await post.add(ALIVE, 5)
    (alive,) = [each for each in await post.claim(Rooms(limit=2, strangers=2)) if each.url.startswith(ALIVE)]

    claimed = await post.claim(Rooms(limit=3, strangers=3, each=9, known={alive.destination_id: Room(9, 1, False)}))

    assert sorted(each.url.partition("?")[0] for each in claimed) == [ALIVE, DEAD, DEAD]


async def test_strangers_share_what_is_left_for_them(post: Post) -> None:
    await post.add(DEAD, 5)
    await post.add(ALIVE, 5)
    (alive, *_) = [each for each in await post.claim(Rooms(limit=2, strangers=2)) if each.url.startswith(ALIVE)]
    trusted = {alive.destination_id: Room(9, 1, True)}

    claimed = await post.claim(Rooms(limit=9, strangers=1, each=9, known=trusted))

    assert sorted(each.url.partition("?")[0] for each in claimed) == [ALIVE] * 4 + [DEAD]


async def test_after_failures_in_a_row_it_is_closed_and_others_are_not(post: Post) -> None:
    await post.close()
    await post.add(ALIVE)

    assert [each.url for each in await post.claim()] == [f"{ALIVE}?1"]
    seconds = await post.deliveries.seconds_to_next()
    assert seconds is not None and 0 < seconds <= 5


async def test_one_success_between_them_keeps_it_open(post: Post) -> None:
    await post.add(DEAD, 2 * TRIP)
    claimed = await post.claim()
    for delivery in claimed[1:TRIP]:
        await post.fail(delivery)
    await post.deliveries.record_delivered([(claimed[0], DONE)])
    for delivery in claimed[TRIP : 2 * TRIP - 1]:
        await post.fail(delivery)

    assert len(await post.claim()) == 2 * (TRIP - 1)


async def test_of_all_dispatchers_one_sends_the_probe_and_its_success_opens(post: Post) -> None:
    await post.close()
    await post.let_pass(timedelta(seconds=6))

    claims = await asyncio.gather(*(post.claim() for _ in range(5)))

    (probe,) = [each for claimed in claims for each in claimed]
    await post.deliveries.record_delivered([(probe, DONE)])
    assert len(await post.claim()) == TRIP - 1


async def test_each_failed_probe_doubles_the_pause_up_to_a_bound(post: Post, rows: Rows) -> None:
    await post.close()
    pauses = []
    for _ in range(8):
        await post.let_pass(timedelta(hours=1))
        (probe,) = await post.claim()
        await post.fail(probe)
        (row,) = await rows("SELECT extract(epoch FROM closed_until - now()) AS pause FROM destinations")
        pauses.append(round(row["pause"]))

    assert pauses == [10, 20, 40, 80, 160, 300, 300, 300]


async def test_a_probe_that_was_not_sent_lets_another_one_be(post: Post) -> None:
    await post.close()
    await post.let_pass(timedelta(seconds=6))
    (probe,) = await post.claim()

    await post.deliveries.lay_aside(probe, DeliveryState.SUPERSEDED)

    assert len(await post.claim()) == 1


async def test_a_probe_is_used_up_only_where_it_is_sent(post: Post, database: Database, rows: Rows) -> None:
    for number in range(8):
        await post.add(f"https://dead{number}.example/")
    async with database.connection() as connection:
        await connection.execute("UPDATE destinations SET closed_until = now() - interval '1 second'")
    for number in range(8):
        await post.add(f"https://new{number}.example/")

    none = await post.claim(Rooms(limit=9, strangers=0, each=1))
    some = await post.claim(Rooms(limit=9, strangers=4, each=1))

    assert none == []
    assert sorted(each.url[8:11] for each in some) == ["dea", "dea", "new", "new"]
    (left,) = await rows("SELECT count(*) AS number FROM destinations WHERE closed_until <= now()")
    assert left["number"] == 6


async def test_what_waits_behind_a_closed_destination_uses_up_no_tries(post: Post, rows: Rows) -> None:
    await post.close()
    for _ in range(3):
        await post.claim()

    assert {row["tries"] for row in await rows("SELECT tries FROM deliveries")} == {1}


async def test_after_five_days_of_failures_it_is_disabled_until_a_success(post: Post, rows: Rows) -> None:
    await post.close()
    await post.let_pass(timedelta(days=4, hours=23))
    (probe,) = await post.claim()
    not_yet = await post.fail(probe)
    await post.let_pass(timedelta(hours=2))
    (probe,) = await post.claim()
    assert (not_yet, await post.fail(probe)) == (False, True)

    await post.deliveries.disable(probe.destination_id, "it is no use")
    await post.add(DEAD)

    told = await rows("SELECT DISTINCT state, last_error IS NOT NULL AS is_told FROM deliveries")
    assert told == [{"state": "DEAD", "is_told": True}]
    async with post._database.connection() as connection:
        await connection.execute("UPDATE deliveries SET state = 'PENDING' WHERE id = $1", probe.id)
    await post.let_pass(timedelta(hours=2))
    (again,) = await post.claim()
    await post.deliveries.record_delivered([(again, DONE)])
    await post.add(DEAD, 2)
    assert len(await post.claim()) == 2


async def test_what_came_of_each_attempt_is_kept(post: Post, rows: Rows) -> None:
    await post.add(ONE)
    (first,) = await post.claim()
    await post.deliveries.record(
        first,
        Attempt(seconds=2.5, status=503, error="answered 503", answer="busy"),
        DeliveryState.PENDING,
        timedelta(0),
    )
    (second,) = await post.claim()
    await post.deliveries.record_delivered([(second, DONE)])

    kept = await rows(
        "SELECT status, error, answer, seconds, next_try_at - started_at AS next FROM delivery_attempts ORDER BY id"
    )
    assert kept == [
        {"status": 503, "error": "answered 503", "answer": "busy", "seconds": 2.5, "next": timedelta(seconds=2.5)},
        {"status": 204, "error": None, "answer": None, "seconds": 0.1, "next": None},
    ]
