"""POST /v1/controlnet/detect with what looks with a network: a job, which a scripted worker runs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse, ClientSession, web
from arq.connections import ArqRedis

from jobs.ability import Ability
from jobs.capabilities import RUNNABLE
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.job import Failure, FailureCode, Image, Job
from jobs.preprocessors import Preprocessor, parameters_of
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.input_initialize import InputInitialize
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.outlook_board import OutlookBoard
from orchestrator import account_turns, detect_jobs
from orchestrator import foresight as foresight_module
from orchestrator.app import WebOptions, open_app
from tests import one_job
from tests.orchestrator.conftest import Api, body, new_key, open_api
from tests.orchestrator.test_detect import DETECT, GOLDEN, detect, picture, png
from tests.until import until

NETWORK = "301"
WORKER, POOL = "seeing:1", "seeing"
ABLE = Ability(RUNNABLE, {NETWORK: "", "101": ""})


@pytest.fixture
def catalog(catalog: Catalog) -> Catalog:
    network = Model(id=NETWORK, name="depth_anything", kind=Kind.PREPROCESSOR, family=Family.ANY, path=Path("absent"))
    return Catalog([*catalog.models, network])


@pytest.fixture
async def api(
    options: WebOptions, database: Database, redis: ArqRedis, board: OutlookBoard, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Api]:
    """With a worker that is alive and takes nothing."""
    monkeypatch.setattr(foresight_module, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(detect_jobs, "LOOK_EVERY_S", 0.05)
    await board.tell(WORKER, pool=POOL, ability=ABLE)
    async with open_api(options, database, redis) as opened:
        await asyncio.sleep(0.1)
        yield opened


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


async def listed(api: Api) -> list[dict[str, Any]]:
    status, answer = await api.call("GET", "/v1/jobs")
    assert status == 200, answer
    found: list[dict[str, Any]] = answer["jobs"]
    return found


async def waiting(api: Api) -> int:
    """The id of the account's job, when it waits."""

    async def is_there() -> bool:
        return any(job["status"] == "WAITING" for job in await listed(api))

    await until(is_there)
    return int(next(job["id"] for job in await listed(api) if job["status"] == "WAITING"))


async def claimed(api: Api, jobs: JobStore) -> Job:
    job = await one_job.claim(jobs, await waiting(api), 1, worker=WORKER, lease=timedelta(seconds=60))
    assert job is not None
    return job


async def asked(api: Api, module: str = "depth") -> "asyncio.Task[tuple[int, Any]]":
    resource_id, *_ = await api.upload(png(picture()))
    return asyncio.create_task(detect(api, resource_id, module))


def faults(answer: Any) -> dict[str, str]:
    return {each["field"]: each["description"] for each in answer["details"][0]["fieldViolations"]}


async def test_the_picture_is_what_a_worker_has_made(api: Api, jobs: JobStore, other: Api) -> None:
    resource_id, *_ = await api.upload(png(picture()))
    detecting = asyncio.create_task(detect(api, resource_id, "depth"))
    job = await claimed(api, jobs)
    seen = Image(id=uuid4(), key="jobs/1/1/0.png", format="png", width=64, height=48)
    await one_job.succeed(jobs, job, [seen])

    status, answer = await detecting

    assert status == 200, answer
    image = answer["result"]["resourceImage"]
    assert image["id"] == str(seen.id)
    text = json.dumps(answer).replace(image["url"].partition("?")[2], "<signed>").replace(image["id"], "<id>")
    assert json.loads(text) == json.loads(GOLDEN.read_text())
    stages = (
        InputInitialize(seed=0, image_resource_id=resource_id, picture_size=(64, 48)),
        ControlnetDetect(
            preprocessor=Preprocessor.DEPTH,
            model=NETWORK,
            preprocessor_params=parameters_of(Preprocessor.DEPTH, {}),
        ),
    )
    assert job.submission.stages == stages
    assert job.need == f"{NETWORK}|INPUT_INITIALIZE CONTROLNET_DETECT"
    assert (job.credits, job.dialect, job.request_id[:7]) == (0, "tams", "detect-")
    assert (job.submission.start_within_s, job.submission.end_within_s) == (60, 60)
    initial = body()
    initial["stages"][0]["inputInitialize"]["imageResourceId"] = image["id"]
    assert (await api.post_job(initial))[0] == 200
    assert (await other.post_job({**initial, "requestId": uuid4().hex}))[0] == 400


async def test_it_stands_in_the_line_of_those_who_can_look(api: Api, redis: ArqRedis, board: OutlookBoard) -> None:
    await board.tell("drawing:1", pool="drawing", ability=Ability(RUNNABLE - {"CONTROLNET_DETECT"}, ABLE.models))
    await board.tell("blind:1", pool="blind", ability=Ability(RUNNABLE, {"101": ""}))
    await asyncio.sleep(0.15)

    detecting = await asked(api)

    (place,) = await JobQueue(redis).places([(await waiting(api), 1)])
    assert place is not None and place.pool == POOL
    detecting.cancel()


@pytest.mark.parametrize(
    ("reason", "field", "told"),
    [
        (
            f"stages[1].controlnetDetect: PREPROCESSOR {NETWORK}: damaged",
            "controlnetModule",
            f"PREPROCESSOR {NETWORK}: damaged",
        ),
        ("stages[0].inputInitialize: input picture x: cut off", "resourceId", "input picture x: cut off"),
        ("anything: else", "controlnetModule", "anything: else"),
    ],
)
async def test_what_can_never_succeed_is_told_with_its_field(
    api: Api, jobs: JobStore, reason: str, field: str, told: str
) -> None:
    detecting = await asked(api)
    job = await claimed(api, jobs)
    await jobs.fail(job.id, 1, Failure(code=FailureCode.FATAL_ERROR, reason=reason))

    status, answer = await detecting

    assert (status, answer["code"]) == (400, 3)
    assert faults(answer) == {field: told}


async def test_what_might_succeed_again_may_be_sent_again(api: Api, jobs: JobStore) -> None:
    detecting = await asked(api)
    job = await claimed(api, jobs)
    await jobs.fail(job.id, 1, Failure(code=FailureCode.TRANSITORY_ERROR, reason="the worker broke"))

    status, answer = await detecting

    assert (status, answer["code"]) == (503, 14)
    assert answer["message"] == "the worker broke; send it again."


async def test_a_look_that_comes_too_late_is_canceled(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detect_jobs, "WITHIN_S", 0.5)

    status, answer = await (await asked(api))

    assert (status, answer["code"]) == (503, 14)
    assert answer["message"] == "No worker has looked at it within 0.5 s; send it again."
    assert [job["status"] for job in await listed(api)] == ["CANCELED"]


async def test_a_client_that_has_gone_leaves_no_job_behind(
    api: Api, options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with served(options, database, redis) as runner, ClientSession() as session:
        asking = await _ask(session, runner, api)
        await waiting(api)
        asking.cancel()

        async def is_canceled() -> bool:
            return [job["status"] for job in await listed(api)] == ["CANCELED"]

        await until(is_canceled, within_s=5)  # while the worker that was told of counts as alive


async def test_what_the_account_cancels_is_not_waited_for(api: Api) -> None:
    detecting = await asked(api)
    await api.call("DELETE", f"/v1/jobs/{await waiting(api)}")

    status, answer = await detecting

    assert (status, answer["code"]) == (503, 14)
    assert "was canceled" in answer["message"]


async def test_where_no_worker_has_the_network_that_is_told_at_once(api: Api, board: OutlookBoard) -> None:
    await board.forget(WORKER)
    await board.tell("blind:1", pool="blind", ability=Ability(RUNNABLE, {NETWORK: "its files are not there"}))
    await asyncio.sleep(0.15)

    status, answer = await (await asked(api))

    assert (status, answer["code"]) == (503, 14)
    assert answer["message"] == "Nobody can look at it now: its files are not there."
    assert await listed(api) == []


async def test_where_the_workers_are_paused_that_is_told_at_once(api: Api, board: OutlookBoard) -> None:
    await board.tell(WORKER, pool=POOL, ability=ABLE, is_paused=True)
    await asyncio.sleep(0.15)

    status, answer = await (await asked(api))

    assert (status, answer["message"]) == (503, "Nobody can look at it now: the workers that could are paused.")
    assert await listed(api) == []


async def test_where_the_last_worker_goes_meanwhile_the_wait_ends(api: Api, board: OutlookBoard) -> None:
    detecting = await asked(api)
    await waiting(api)
    await board.forget(WORKER)

    status, answer = await detecting

    assert (status, answer["message"]) == (503, "Nobody can look at it now: no worker that takes jobs is alive.")
    assert [job["status"] for job in await listed(api)] == ["CANCELED"]


async def test_a_network_that_is_not_in_the_catalogue_is_refused_by_name(api: Api) -> None:
    status, answer = await (await asked(api, "softedge_hed"))

    assert status == 400
    assert "`darkroom models add SOURCE --kind PREPROCESSOR --name softedge_hed`" in faults(answer)["controlnetModule"]


async def test_an_account_waits_for_one_look_at_a_time(
    api: Api, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await asked(api)
    await waiting(api)
    monkeypatch.setattr(account_turns, "TURN_WITHIN_S", 0.3)

    status, answer = await (await asked(api))

    assert (status, answer["code"]) == (503, 14)
    assert len(await listed(api)) == 1
    # An algorithm's picture does not wait for it.
    assert (await (await asked(api, "canny")))[0] == 200
    other = Api(api.client, await new_key(database))
    theirs = await asked(other)
    await waiting(other)
    for each in (first, theirs):
        each.cancel()


async def test_a_web_process_that_stops_ends_the_wait_at_once(
    api: Api, options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    async with served(options, database, redis) as runner, ClientSession() as session:
        asking = await _ask(session, runner, api)
        await waiting(api)

        async with asyncio.timeout(5):
            await runner.cleanup()

        assert (await asking).status == 503
    assert [job["status"] for job in await listed(api)] == ["CANCELED"]


@asynccontextmanager
async def served(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[web.AppRunner]:
    """As the web process serves it: aiohttp's test server would end the handlers of those who have gone."""
    async with open_app(options, database, redis) as app:
        runner = web.AppRunner(app, shutdown_timeout=60)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await asyncio.sleep(0.1)
        try:
            yield runner
        finally:
            await runner.cleanup()


async def _ask(session: ClientSession, runner: web.AppRunner, api: Api) -> "asyncio.Task[ClientResponse]":
    resource_id, *_ = await api.upload(png(picture()))
    sent = {"controlnetModule": "depth", "resourceId": resource_id}
    url = f"http://127.0.0.1:{runner.addresses[0][1]}{DETECT}"
    return asyncio.create_task(session.post(url, json=sent, headers={"Authorization": f"Bearer {api.key}"}))


async def test_the_accounts_own_limits_hold(api: Api, database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE accounts SET max_waiting = 0")

    status, answer = await (await asked(api))

    assert (status, answer["details"][0]["reason"]) == (429, "TOO_MANY_WAITING")
