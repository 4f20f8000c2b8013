"""POST and GET of jobs: what is accepted, what is refused, and that nothing is half-made."""

import asyncio
import json
import random
from dataclasses import replace
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.capabilities import STAGES
from jobs.catalog import Catalog, Family, Model
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from orchestrator.app import WebOptions
from tests.orchestrator.conftest import MAX_BODY_BYTES, Api, body, open_api


async def test_an_accepted_job_has_an_id_and_its_rank(api: Api) -> None:
    await api.post_job(body())

    status, answer = await api.post_job(body())

    assert status == 200
    job = answer["job"]
    assert job["status"] == "CREATED" and isinstance(job["id"], str)
    assert job["waitingInfo"] == {"queueRank": "2", "queueLen": "2", "queue_rank": "2", "queue_len": "2"}
    assert (await api.job(job["id"]))["status"] == "WAITING"


async def test_the_same_request_again_is_the_same_job(api: Api) -> None:
    request = body()
    reordered = dict(reversed(request.items()))

    answers = [await api.post_job(each) for each in (request, request, reordered)]

    assert [status for status, _ in answers] == [200] * 3
    assert len({answer["job"]["id"] for _, answer in answers}) == 1


async def test_another_body_with_the_same_request_id_is_refused_with_both_facts(api: Api) -> None:
    request = body()
    _, first = await api.post_job(request)

    status, answer = await api.post_job(body(steps=33) | {"requestId": request["requestId"]})

    assert (status, answer["code"]) == (409, 6)
    assert first["job"]["id"] in answer["message"] and answer["message"].count("…") == 2


async def test_a_number_without_end_is_no_repeat_of_null(api: Api) -> None:
    request = body(sdVae=None)
    await api.post_job(request)

    content = json.dumps(request).replace("null", "1e999")
    status, _ = await api.call("POST", "/v1/jobs", data=content.encode())

    assert status == 400


async def test_jobs_that_are_asked_for_at_once_stay_each_accounts_own(api: Api, other: Api) -> None:
    _, mine = await api.post_job(body())
    _, theirs = await other.post_job(body())
    paths = [f"/v1/jobs/{each['job']['id']}" for each in (mine, theirs)]

    async with asyncio.timeout(10):
        asked = [each.call("GET", path) for path in (*paths, "/v1/jobs/99", paths[0]) for each in (api, other)]
        answers = await asyncio.gather(*asked)

    assert [status for status, _ in answers] == [200, 404, 404, 200, 404, 404, 200, 404]


async def test_two_accounts_may_use_the_same_request_id(api: Api, other: Api) -> None:
    request = body()

    answers = [await each.post_job(request) for each in (api, other)]

    assert len({answer["job"]["id"] for _, answer in answers}) == 2


async def test_fifty_identical_requests_at_once_make_one_job(api: Api, database: Database) -> None:
    request = body()

    answers = await asyncio.gather(*(api.post_job(request) for _ in range(50)))

    assert {status for status, _ in answers} == {200}
    assert len({answer["job"]["id"] for _, answer in answers}) == 1
    assert await _count_jobs(database) == 1


async def test_racing_bodies_with_one_request_id_make_one_job_and_a_refusal_each(api: Api, database: Database) -> None:
    requests = [body(steps=steps) | {"requestId": "one"} for steps in range(1, 21)]

    answers = await asyncio.gather(*map(api.post_job, requests))

    assert sorted(status for status, _ in answers) == [200] + [409] * 19
    assert await _count_jobs(database) == 1


async def test_what_was_accepted_stays_accepted_after_its_model_has_gone(
    options: WebOptions, database: Database, redis: ArqRedis, api: Api
) -> None:
    request = body(sdModel="102", width=768, height=768)
    _, first = await api.post_job(request)
    smaller = replace(options, catalog=_only_one_model(options.catalog))

    async with open_api(smaller, database, redis) as later:
        later.key = api.key
        again = await later.post_job(request)
        new = await later.post_job(body(sdModel="102", width=768, height=768))

    assert (again[0], again[1]["job"]["id"]) == (200, first["job"]["id"])
    assert new[0] == 400


async def test_a_seed_that_was_left_open_is_drawn_once(api: Api, database: Database) -> None:
    request = body()
    request["stages"][0]["inputInitialize"] = {"seed": "-1"}
    await api.post_job(request)
    await api.post_job(request)

    async with database.connection() as connection:
        seeds = await connection.fetch("SELECT submission #>> '{stages,0,seed}' AS seed FROM jobs")

    assert len(seeds) == 1 and 0 < int(seeds[0]["seed"]) < 2**32


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer wrong", "Basic abc", "Bearer \u00e9"])
async def test_a_request_without_a_known_key_is_refused(api: Api, header: str) -> None:
    for method, path in (("POST", "/v1/jobs"), ("GET", "/v1/jobs/1"), ("POST", "/v1/resource/image")):
        status, answer = await api.call(method, path, headers={"Authorization": header})
        assert (status, answer["code"]) == (401, 16)


async def test_another_accounts_job_is_not_found(api: Api, other: Api) -> None:
    _, answer = await api.post_job(body())

    status, refusal = await other.call("GET", f"/v1/jobs/{answer['job']['id']}")

    assert (status, refusal["code"]) == (404, 5)


@pytest.mark.parametrize("job_id", ["0", "99", "x", "-1", "1.5", "٣", str(2**63), "9" * 400, "1%00"])
async def test_an_id_that_is_no_job_is_not_found(api: Api, job_id: str) -> None:
    status, answer = await api.call("GET", f"/v1/jobs/{job_id}")

    assert (status, answer["code"]) == (404, 5)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"nul",
        b"[" * 5000,
        b'{"requestId": "\xff"}',
        b'{"a": "\\ud800"}',
        b"[]",
        b"7",
        b"null",
        b'""',
    ],
)
async def test_a_body_that_is_no_json_object_is_refused(api: Api, content: bytes) -> None:
    status, answer = await api.call("POST", "/v1/jobs", data=content)

    assert (status, answer["code"]) == (400, 3), answer


async def test_a_body_over_the_limit_is_refused(api: Api) -> None:
    status, answer = await api.post_job(body(prompts=[{"text": "x" * MAX_BODY_BYTES}]))

    assert (status, answer["code"]) == (413, 3)
    assert str(MAX_BODY_BYTES) in answer["message"]


async def test_all_faults_of_a_request_come_at_once_with_their_paths(api: Api, database: Database) -> None:
    request = body(width=500, steps=61, prompts="x", lora={"items": [{"loraModel": "1"}]}, surprise=1)
    request["stages"][0]["inputInitialize"] = {"count": 5, "imageResourceId": "nothing"}
    request["notifyUrl"] = "ftp://x"

    status, answer = await api.post_job(request)

    assert (status, answer["code"]) == (400, 3)
    fields = {violation["field"] for violation in answer["details"][0]["fieldViolations"]}
    assert fields == {
        "notifyUrl",
        "stages[0].inputInitialize.count",
        "stages[1].diffusion.width",
        "stages[1].diffusion.steps",
        "stages[1].diffusion.prompts",
        "stages[1].diffusion.lora.items[0].loraModel",
        "stages[1].diffusion.surprise",
    }
    assert await _count_jobs(database) == 0


async def test_what_cannot_be_done_yet_is_refused_with_the_reason(api: Api, database: Database) -> None:
    request = body(enableElla=True)
    request["stages"].append({"type": "IMAGE_TO_ANIMATE_DIFF", "imageToAnimateDiff": {"args": [{}]}})

    status, answer = await api.post_job(request)

    assert (status, answer["code"]) == (400, 3)
    assert answer["details"][0]["fieldViolations"] == [
        {"field": "stages[2].type", "description": f"IMAGE_TO_ANIMATE_DIFF: {STAGES['IMAGE_TO_ANIMATE_DIFF']}"},
        {"field": "stages[1].diffusion.enableElla", "description": "ELLA is not built yet"},
    ]
    assert await _count_jobs(database) == 0


async def test_an_unknown_path_and_method_answer_in_the_words_of_the_api(api: Api) -> None:
    missing, wrong = await api.call("GET", "/v1/nothing"), await api.call("PATCH", "/v1/jobs")

    assert (missing[0], missing[1]["code"]) == (404, 5)
    assert (wrong[0], wrong[1]["code"]) == (405, 12)


async def test_no_mutation_of_a_request_is_answered_with_a_server_error(api: Api) -> None:
    seen = set()
    chooser = random.Random(7)
    for _ in range(250):
        content = json.dumps(_mutated(body(), chooser))
        status, answer = await api.call("POST", "/v1/jobs", data=content.encode())
        assert status < 500, (content, answer)
        seen.add(status)
    assert {200, 400} <= seen


STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    2**70,
    "",
    "\x00",
    "NaN",
    "512",
    "é🦊",
    [],
    {},
    [[]],
    {"": {}},
    [None] * 200,
]


def _mutated(value: Any, chooser: random.Random) -> Any:
    """One part of it replaced, removed or renamed."""
    if not isinstance(value, dict | list) or not value or chooser.random() < 0.15:
        return chooser.choice(STRANGE)
    key = chooser.choice(list(value)) if isinstance(value, dict) else chooser.randrange(len(value))
    copy = value.copy()
    match chooser.randrange(8):
        case 0:
            del copy[key]
        case 1 if isinstance(copy, dict):
            copy[chooser.choice(["width", "type", "", "\x00", "controlNet", "sd_model"])] = copy.pop(key)
        case _:
            copy[key] = _mutated(value[key], chooser)
    return copy


def _only_one_model(catalog: Catalog) -> Catalog:
    return Catalog([Model(id="101", name="only", family=Family.SD15, path=catalog.default.path)])


async def _count_jobs(database: Database) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval("SELECT count(*) FROM jobs"))


async def test_a_job_that_waits_for_room_stands_behind_all_that_wait_for_their_turns(api: Api, redis: ArqRedis) -> None:
    ids = [(await api.post_job(body()))[1]["job"]["id"] for _ in range(3)]
    await JobQueue(redis).remove((int(ids[0]), 1))

    places = [(await api.job(job_id))["waitingInfo"] for job_id in ids]

    assert [(each["queueRank"], each["queueLen"]) for each in places] == [("3", "3"), ("1", "2"), ("2", "2")]
