"""Accounts see what became of their callbacks, send them again, and test an address."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from jobs.deliveries import DeliveryState
from jobs.job import Failure, FailureCode
from jobs.storage.database import Database
from jobs.storage.delivery_store import Attempt, Delivery, DeliveryStore, Rooms
from jobs.storage.job_store import JobStore
from tests import one_job
from tests.orchestrator.conftest import Api, body

HOOK = "https://client.example/hook?token=x"
BUSY = Attempt(seconds=1.23456, status=503, error="answered 503", answer="try later")
DONE = Attempt(seconds=0.1, status=204)


class Post:
    """Ends jobs, and stands for the webhooks process."""

    def __init__(self, api: Api, database: Database) -> None:
        self._api = api
        self._jobs = JobStore(database)
        self._store = DeliveryStore(database)

    async def ended_job(self, api: Api | None = None) -> str:
        _, answer = await (api or self._api).post_job({**body(), "notifyUrl": HOOK})
        job_id = int(answer["job"]["id"])
        await one_job.claim(self._jobs, job_id, 1, worker="w", lease=timedelta(minutes=1))
        await self._jobs.fail(job_id, 1, Failure(code=FailureCode.FATAL_ERROR, reason="x"))
        return str(job_id)

    async def claim(self) -> list[Delivery]:
        return await self._store.claim(Rooms(limit=10, strangers=10, each=10), claim=timedelta(minutes=1))

    async def send(self, attempt: Attempt, state: DeliveryState, delay: timedelta | None = None) -> str:
        """The one that is due; gives its `webhook-id`."""
        (delivery,) = await self.claim()
        await self._store.record(delivery, attempt, state, delay)
        return f"msg_{delivery.id.hex}"


@pytest.fixture
def post(api: Api, database: Database) -> Post:
    return Post(api, database)


async def states(api: Api, query: str = "") -> list[str]:
    status, answer = await api.call("GET", f"/v1/deliveries{query}")
    assert status == 200, answer
    return [each["state"] for each in answer["deliveries"]]


async def test_a_job_tells_of_each_attempt_and_of_the_next(api: Api, post: Post) -> None:
    job_id = await post.ended_job()
    message = await post.send(BUSY, DeliveryState.PENDING, timedelta(minutes=2))

    status, answer = await api.call("GET", f"/v1/jobs/{job_id}/deliveries")

    (delivery,) = answer["deliveries"]
    (attempt,) = delivery.pop("attempts")
    assert status == 200
    assert _without_times(delivery) == {
        "id": message,
        "jobId": job_id,
        "kind": "TERMINAL",
        "url": HOOK,
        "state": "PENDING",
        "tries": 1,
        "lastStatus": 503,
        "lastError": "answered 503",
    }
    assert _without_times(attempt) == {
        "seconds": 1.235,
        "status": 503,
        "error": "answered 503",
        "answer": "try later",
    }
    wait = datetime.fromisoformat(attempt["nextTryAt"]) - datetime.now(UTC)
    assert timedelta(minutes=1) < wait < timedelta(minutes=2)
    assert attempt["nextTryAt"] == delivery["nextTryAt"]


async def test_what_is_anothers_is_not_found(api: Api, other: Api, post: Post) -> None:
    job_id = await post.ended_job()
    message = await post.send(BUSY, DeliveryState.DEAD)

    assert (await other.call("GET", f"/v1/jobs/{job_id}/deliveries"))[0] == 404
    assert (await other.call("POST", f"/v1/deliveries/{message}/replay"))[0] == 404
    assert await states(other) == []
    assert (await other.call("POST", "/v1/deliveries/replay"))[1] == {"replayed": 0}
    assert (await other.call("GET", "/v1/deliveries/destinations"))[1] == {"destinations": []}
    assert await states(api) == ["DEAD"]


async def test_the_list_is_newest_first_by_state_and_time_and_page_by_page(api: Api, post: Post) -> None:
    jobs = []
    for state in (DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.DEAD):
        jobs.append(await post.ended_job())
        await post.send(BUSY, state)

    first = (await api.call("GET", "/v1/deliveries?limit=2"))[1]
    second = (await api.call("GET", f"/v1/deliveries?limit=2&cursor={first['nextCursor']}"))[1]

    told = [each["jobId"] for each in first["deliveries"] + second["deliveries"]]
    assert told == jobs[::-1] and "nextCursor" not in second
    assert await states(api, "?state=DEAD") == ["DEAD", "DEAD"]
    begin = quote(second["deliveries"][0]["createdAt"])
    assert await states(api, f"?createdAfter={begin}") == ["DEAD", "DELIVERED", "DEAD"]
    assert await states(api, f"?createdBefore={begin}") == []


@pytest.mark.parametrize("query", ["state=LOST", "cursor=x", "limit=0", "limit=101", "createdAfter=today", "x=1"])
async def test_a_list_that_cannot_be_meant_is_told_why(api: Api, query: str) -> None:
    status, answer = await api.call("GET", f"/v1/deliveries?{query}")

    assert (status, answer["code"]) == (400, 3)
    assert answer["details"][0]["fieldViolations"][0]["field"].startswith(query.partition("=")[0])


async def test_a_dead_one_is_sent_again_with_its_id_and_all_its_tries(api: Api, post: Post) -> None:
    await post.ended_job()
    message = await post.send(BUSY, DeliveryState.DEAD)

    status, answer = await api.call("POST", f"/v1/deliveries/{message}/replay")

    assert (status, answer["delivery"]["state"], answer["delivery"]["tries"]) == (200, "PENDING", 0)
    assert await post.send(DONE, DeliveryState.DELIVERED) == message


async def test_one_that_waits_goes_now_and_one_that_arrived_goes_again(api: Api, post: Post) -> None:
    await post.ended_job()
    message = await post.send(BUSY, DeliveryState.PENDING, timedelta(hours=1))
    for _ in range(2):
        await api.call("POST", f"/v1/deliveries/{message}/replay")
        assert await post.send(DONE, DeliveryState.DELIVERED) == message


async def test_all_dead_ones_are_sent_again_or_those_of_a_period(api: Api, post: Post) -> None:
    for state in (DeliveryState.DEAD, DeliveryState.DELIVERED, DeliveryState.DEAD):
        await post.ended_job()
        await post.send(BUSY, state)
    _, answer = await api.call("GET", "/v1/deliveries")
    newest = quote(answer["deliveries"][0]["createdAt"])

    replayed = [
        (await api.call("POST", f"/v1/deliveries/replay{query}"))[1]["replayed"]
        for query in (f"?createdAfter={newest}", "", "", "?state=DELIVERED")
    ]

    assert replayed == [1, 1, 0, 1]
    assert len(await post.claim()) == 3


async def test_a_replay_takes_no_body_and_says_where_its_fields_go(api: Api, post: Post) -> None:
    await post.ended_job()
    await post.send(BUSY, DeliveryState.DEAD)

    status, answer = await api.call("POST", "/v1/deliveries/replay", json={"state": ["DELIVERED"]})

    assert (status, answer["code"]) == (400, 3) and "address" in answer["message"]
    assert (await api.call("POST", "/v1/deliveries/replay"))[1] == {"replayed": 1}


async def test_a_start_is_not_told_again(api: Api, post: Post, database: Database) -> None:
    _, answer = await api.post_job({**body(), "runningNotifyUrl": HOOK})
    await one_job.claim(JobStore(database), int(answer["job"]["id"]), 1, worker="w", lease=timedelta(minutes=1))
    message = await post.send(BUSY, DeliveryState.DEAD)

    status, answer = await api.call("POST", f"/v1/deliveries/{message}/replay")

    assert (status, answer["code"]) == (400, 3) and "RUNNING" in answer["message"]
    assert (await api.call("POST", "/v1/deliveries/replay"))[1] == {"replayed": 0}


@pytest.mark.parametrize("id", ["x", f"msg_{'0' * 32}", f"msg_{'0' * 31}", "0" * 32])
async def test_what_is_no_delivery_is_not_found(api: Api, id: str) -> None:
    status, answer = await api.call("POST", f"/v1/deliveries/{id}/replay")

    assert (status, answer["code"]) == (404, 5)


async def test_a_test_is_queued_and_its_destination_told(api: Api, post: Post) -> None:
    for _ in range(2):
        status, answer = await api.call("POST", "/v1/deliveries/test", json={"url": HOOK})

    assert status == 200 and answer["delivery"]["kind"] == "TEST" and "jobId" not in answer["delivery"]
    first, second = await post.claim()
    assert {first.url, second.url} == {HOOK} and first.destination_id == second.destination_id
    told = (await api.call("GET", "/v1/deliveries/destinations"))[1]
    assert told == {"destinations": [{"origin": "https://client.example", "state": "OPEN", "failures": 0}]}


async def test_destinations_are_listed_page_by_page(api: Api, other: Api) -> None:
    origins = [f"https://{name}.example" for name in "abcde"]
    for origin in reversed(origins):
        await api.call("POST", "/v1/deliveries/test", json={"url": f"{origin}/hook"})
    await other.call("POST", "/v1/deliveries/test", json={"url": "https://b.other.example"})

    pages, cursor = [], ""
    for _ in range(3):
        _, page = await api.call("GET", f"/v1/deliveries/destinations?limit=2&cursor={cursor}")
        pages.append([each["origin"] for each in page["destinations"]])
        cursor = page.get("nextCursor", "")

    assert pages == [origins[:2], origins[2:4], origins[4:]] and not cursor


@pytest.mark.parametrize(
    ("query", "field"), [("limit=0", "limit"), ("limit=101", "limit"), ("cursor=x", "cursor"), ("state=DEAD", "state")]
)
async def test_a_wrong_page_of_destinations_names_its_fault(api: Api, query: str, field: str) -> None:
    status, answer = await api.call("GET", f"/v1/deliveries/destinations?{query}")

    (violation,) = answer["details"][0]["fieldViolations"]
    assert (status, violation["field"]) == (400, field)


@pytest.mark.parametrize("sent", [{}, {"url": ""}, {"url": "ftp://x"}, {"url": None}, {"url": 1}, [], None])
async def test_a_test_of_what_is_no_address_is_refused(api: Api, sent: Any) -> None:
    status, answer = await api.call("POST", "/v1/deliveries/test", json=sent)

    assert (status, answer["code"]) == (400, 3)


async def test_a_destination_that_fails_and_one_that_is_disabled_say_so(
    api: Api, post: Post, database: Database
) -> None:
    await post.ended_job()
    (delivery,) = await post.claim()
    store = DeliveryStore(database)
    for _ in range(6):
        async with database.connection() as connection:
            await connection.execute("UPDATE deliveries SET claims = $1", delivery.claims)
        await store.record(delivery, BUSY, DeliveryState.PENDING, timedelta(0))
    _, failing = await api.call("GET", "/v1/deliveries/destinations")
    await store.disable(delivery.destination_id, "no use")
    _, disabled = await api.call("GET", "/v1/deliveries/destinations")

    assert failing["destinations"][0]["state"] == "FAILING" and "nextTryAt" in failing["destinations"][0]
    assert disabled["destinations"][0]["state"] == "DISABLED" and "disabledAt" in disabled["destinations"][0]
    assert (await api.call("GET", "/v1/deliveries"))[1]["deliveries"][0]["lastError"] == "no use"


def _without_times(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not name.endswith("At")}
