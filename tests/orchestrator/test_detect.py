"""POST /v1/controlnet/detect: what a preprocessor makes of a picture."""

import asyncio
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image

from jobs.preprocessing import preprocessed
from jobs.preprocessors import ALGORITHMS, Preprocessor, parameters_of
from jobs.storage.database import Database
from jobs.storage.local_files import LocalFiles
from orchestrator import account_turns, detect_api
from tests.orchestrator.conftest import Api, body, new_key, path_of
from tests.until import until

DETECT = "/v1/controlnet/detect"
GOLDEN = Path(__file__).parent / "golden" / "detect.json"


def picture(width: int = 64, height: int = 48) -> Image.Image:
    made = Image.new("RGB", (width, height), "navy")
    made.paste((250, 200, 10), (width // 4, height // 4, width // 2, height // 2))
    return made


def png(made: Image.Image) -> bytes:
    content = io.BytesIO()
    made.save(content, "PNG")
    return content.getvalue()


async def detect(api: Api, resource_id: str, module: str = "canny") -> tuple[int, Any]:
    return await api.call("POST", DETECT, json={"controlnetModule": module, "resourceId": resource_id})


async def shown(api: Api, answer: Any) -> Image.Image:
    async with api.client.get(path_of(answer["result"]["resourceImage"]["url"])) as response:
        assert response.status == 200
        return Image.open(io.BytesIO(await response.read()))


async def test_the_answer_is_a_resource_image(api: Api) -> None:
    resource_id, *_ = await api.upload(png(picture()))

    status, answer = await detect(api, resource_id)

    assert status == 200, answer
    image = answer["result"]["resourceImage"]
    text = json.dumps(answer).replace(image["url"].partition("?")[2], "<signed>").replace(image["id"], "<id>")
    assert json.loads(text) == json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("preprocessor", ALGORITHMS)
async def test_it_shows_what_a_job_would_be_guided_by(api: Api, preprocessor: Preprocessor) -> None:
    resource_id, *_ = await api.upload(png(picture()))

    _, answer = await detect(api, resource_id, preprocessor)

    expected = preprocessed(picture(), preprocessor, parameters_of(preprocessor, {}), pixel_perfect=False)
    assert np.array_equal(np.asarray(await shown(api, answer)), np.asarray(expected))


async def test_its_picture_is_one_of_the_account_that_a_job_can_begin_from(api: Api, other: Api) -> None:
    resource_id, *_ = await api.upload(png(picture()))
    _, answer = await detect(api, resource_id)
    asked = body()
    asked["stages"][0]["inputInitialize"]["imageResourceId"] = answer["result"]["resourceImage"]["id"]

    assert (await api.post_job(asked))[0] == 200
    assert (await other.post_job({**asked, "requestId": uuid4().hex}))[0] == 400


async def test_a_picture_larger_than_any_drawing_is_reduced(api: Api) -> None:
    resource_id, *_ = await api.upload(png(picture(4096, 64)))

    _, answer = await detect(api, resource_id, "invert")

    assert (await shown(api, answer)).size == (2048, 32)


async def test_a_ribbon_is_seen_as_any_other_picture(api: Api) -> None:
    resource_id, *_ = await api.upload(png(picture(8192, 4)))

    status, answer = await detect(api, resource_id)

    assert status == 200, answer
    assert (await shown(api, answer)).size == (2048, 1)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was read of the store; whoever has read it stays until the test ends."""
    keys: list[str] = []
    get = LocalFiles.get

    async def holding(self: LocalFiles, key: str) -> bytes:
        keys.append(key)
        await asyncio.Event().wait()
        return await get(self, key)

    monkeypatch.setattr(LocalFiles, "get", holding)
    yield keys


async def test_an_account_has_one_picture_in_memory_however_many_it_asks_for(
    api: Api, other: Api, held: list[str]
) -> None:
    mine, theirs = [(await each.upload(png(picture())))[0] for each in (api, other)]

    asked = [asyncio.create_task(detect(api, mine)) for _ in range(8)]
    await until(lambda: asyncio.sleep(0, len(held) == 1))
    asked.append(asyncio.create_task(detect(other, theirs)))
    await until(lambda: asyncio.sleep(0, len(held) >= 2))

    assert [key.split("/")[1] for key in held] == [mine, theirs]
    await _end(asked)


async def test_accounts_together_have_as_many_pictures_in_memory_as_it_takes(
    api: Api, database: Database, held: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts = [Api(api.client, await new_key(database)) for _ in range(detect_api.MAX_AT_ONCE + 1)]
    ids = [(await each.upload(png(picture())))[0] for each in accounts]
    monkeypatch.setattr(account_turns, "TURN_WITHIN_S", 0.5)

    asked = [asyncio.create_task(detect(*each)) for each in zip(accounts, ids, strict=True)]
    (refused,), holding = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)

    assert refused.result()[0] == 503
    assert len(held) == len(holding) == detect_api.MAX_AT_ONCE
    await _end(holding)


async def _end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_what_is_transparent_is_seen_over_white(api: Api) -> None:
    resource_id, *_ = await api.upload(png(Image.new("RGBA", (64, 64), (255, 0, 0, 0))))

    _, answer = await detect(api, resource_id, "none")

    assert (await shown(api, answer)).getcolors() == [(64 * 64, (255, 255, 255))]


@pytest.mark.parametrize(
    ("asked", "field", "reason"),
    [
        ({"controlnetModule": "cany"}, "controlnetModule", "did you mean 'canny'?"),
        (
            {"controlnetModule": "openpose"},
            "controlnetModule",
            "--kind PREPROCESSOR --name openpose` adds the file published as body_pose_model",
        ),
        ({"controlnetModule": "depth_leres"}, "controlnetModule", "looks with a network that Darkroom cannot run"),
        ({}, "controlnetModule", "is required"),
        ({"controlnetModule": "canny", "resourceId": ""}, "resourceId", "is required"),
        ({"controlnetModule": 7}, "controlnetModule", "must be a string"),
    ],
)
async def test_what_is_wrong_is_told_with_its_field(api: Api, asked: dict[str, Any], field: str, reason: str) -> None:
    status, answer = await api.call("POST", DETECT, json={"resourceId": str(uuid4()), **asked})

    assert (status, answer["code"]) == (400, 3)
    faults = {each["field"]: each["description"] for each in answer["details"][0]["fieldViolations"]}
    assert reason in faults[field]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (
            {"inputImageResourceId": "x", "preprocessor": "canny"},
            {
                "inputImageResourceId": "is not a field here; did you mean 'resourceId'?",
                "preprocessor": "is not a field here; there are 'controlnetModule' and 'resourceId'",
                "controlnetModule": "is required",
                "resourceId": "is required",
            },
        ),
        (
            {"resource_id": "x", "resourceId": "x", "module": "canny"},
            {
                "resource_id": "is a second spelling of 'resourceId', which is there already; send one of them",
                "module": "is not a field here; did you mean 'controlnetModule'?",
                "controlnetModule": "is required",
            },
        ),
        (
            {"controlnetModule": "cany", "resourceId": 7},
            {
                "controlnetModule": "no preprocessor is named 'cany'; did you mean 'canny'?",
                "resourceId": "must be a string",
            },
        ),
    ],
)
async def test_all_that_is_wrong_or_missing_is_told_at_once(
    api: Api, asked: dict[str, Any], told: dict[str, str]
) -> None:
    status, answer = await api.call("POST", DETECT, json=asked)

    assert status == 400
    assert {each["field"]: each["description"] for each in answer["details"][0]["fieldViolations"]} == told


async def test_a_body_that_is_empty_is_told_so(api: Api) -> None:
    status, answer = await api.call("POST", DETECT, data=b"")

    assert (status, answer["message"]) == (400, "the body is empty; it must be a JSON object")


async def test_a_picture_that_is_not_there_or_anothers_is_not_found(api: Api, other: Api) -> None:
    theirs, *_ = await other.upload(png(picture()))
    _, empty = await api.call("POST", "/v1/resource/image", json={})

    for resource_id in (theirs, empty["resourceId"], str(uuid4()), "no id"):
        status, answer = await detect(api, resource_id)
        reason = f"there is no resource {resource_id!r} with a picture; upload one first"
        assert (status, answer["code"], answer["message"]) == (404, 5, reason)
        (detail,) = answer["details"]
        assert detail["fieldViolations"] == [{"field": "resourceId", "description": reason}]


async def test_a_stored_picture_that_is_damaged_is_told_with_its_field(api: Api, files_folder: Path) -> None:
    resource_id, *_ = await api.upload(png(picture()))
    (file,) = files_folder.rglob("*.png")
    file.write_bytes(b"")

    status, answer = await detect(api, resource_id)

    assert status == 400
    assert [each["field"] for each in answer["details"][0]["fieldViolations"]] == ["resourceId"]


async def test_who_is_not_known_is_told_so_first(api: Api) -> None:
    status, answer = await api.call("POST", DETECT, data=b"{ anything", headers={"Authorization": "Bearer wrong"})

    assert (status, answer["code"]) == (401, 16)
