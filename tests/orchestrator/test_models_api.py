"""GET of models: who sees which, page by page."""

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.catalog import Catalog, Family, Kind, Model
from jobs.storage.database import Database
from orchestrator.app import WebOptions
from tests.orchestrator.conftest import Api, open_api

GOLDEN = Path(__file__).parent / "golden"
KEY = {"X-Model-Access-Key": "open sesame"}
DIGEST = hashlib.sha256(b"open sesame").hexdigest()


def model(id: str, name: str, kind: Kind, family: Family, *aliases: str, access_key_sha256: str = "") -> Model:
    return Model(
        id=id,
        name=name,
        aliases=aliases,
        kind=kind,
        family=family,
        path=Path("absent"),
        access_key_sha256=access_key_sha256,
    )


# Not in the order of their ids; as texts, 9 would come after 600423083519508503.
MODELS = [
    model("600423083519508503", "DreamShaper-8", Kind.CHECKPOINT, Family.SD15, "ds8"),
    model("20", "castle-style", Kind.LORA, Family.SDXL),
    model("9", "dreams", Kind.LORA, Family.SD15),
    model("21", "secret-style", Kind.LORA, Family.SDXL, access_key_sha256=DIGEST),
    model("600423083519508504", "4x", Kind.UPSCALER, Family.ANY),
]


@pytest.fixture
def options(options: WebOptions) -> WebOptions:
    return replace(options, catalog=Catalog(MODELS))


@pytest.fixture
async def api(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[Api]:
    async with open_api(options, database, redis) as opened:
        yield opened


async def ids(api: Api, query: str = "", **options: Any) -> list[str]:
    status, body = await api.call("GET", f"/v1/models{query}", **options)
    assert status == 200, body
    return [each["id"] for each in body["models"]]


async def pages(api: Api, query: str) -> AsyncIterator[list[str]]:
    cursor = ""
    while True:
        _, body = await api.call("GET", f"/v1/models{query}&cursor={cursor}")
        yield [each["id"] for each in body["models"]]
        cursor = body.get("nextCursor", "")
        if not cursor:
            return


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


async def test_a_model_is_shown_by_its_id(api: Api) -> None:
    assert await api.call("GET", "/v1/models/600423083519508503") == (200, golden("model"))


async def test_the_list_is_a_page_with_a_cursor(api: Api) -> None:
    assert await api.call("GET", "/v1/models?limit=2") == (200, golden("models"))


@pytest.mark.parametrize("id", ["22", "DreamShaper-8", "ds8", "0", "-1", "020", "9" * 5000, "%00", "%ED%A0%80"])
async def test_what_is_no_models_id_is_not_found(api: Api, id: str) -> None:
    status, body = await api.call("GET", f"/v1/models/{id}")

    assert (status, body["code"], body["details"]) == (404, 5, [])
    assert body["message"].startswith("There is no model with the id ")
    assert body["message"].endswith(" GET /v1/models?name=… finds ids by name.")


@pytest.mark.parametrize("id", ["dreamshaper", "ds8", "600423083519508505"])
async def test_an_id_that_is_near_or_of_that_name_is_told(api: Api, id: str) -> None:
    _, body = await api.call("GET", f"/v1/models/{id}")

    assert "; did you mean " in body["message"]
    assert "600423083519508503 ('DreamShaper-8')" in body["message"]


async def test_no_private_model_is_suggested(api: Api) -> None:
    _, body = await api.call("GET", "/v1/models/secret-styl")

    assert "21" not in body["message"]
    assert "secret-style" not in body["message"]


async def test_a_private_model_cannot_be_told_from_one_that_is_not_there(api: Api) -> None:
    wrong = {"X-Model-Access-Key": "open"}

    answers = [await api.call("GET", "/v1/models/21"), await api.call("GET", "/v1/models/21", headers=wrong)]
    absent = await api.call("GET", "/v1/models/22")

    assert answers == [(404, {**absent[1], "message": absent[1]["message"].replace("22", "21")})] * 2


async def test_a_private_model_is_shown_and_listed_with_its_key(api: Api) -> None:
    status, body = await api.call("GET", "/v1/models/21", headers=KEY)

    assert (status, body["model"]["name"]) == (200, "secret-style")
    assert "21" in await ids(api, headers=KEY)


async def test_the_list_is_in_the_order_of_ids_and_leaves_private_models_out(api: Api) -> None:
    assert await ids(api) == ["9", "20", "600423083519508503", "600423083519508504"]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?type=LORA", ["9", "20"]),
        ("?type=UPSCALER", ["600423083519508504"]),
        ("?type=VAE", []),
        ("?baseModel=SD15", ["9", "600423083519508503"]),
        ("?base_model=SDXL", ["20"]),
        ("?type=LORA&baseModel=SD15", ["9"]),
        ("?name=dream", ["9", "600423083519508503"]),
        ("?name=DREAMS", ["9", "600423083519508503"]),
        ("?name=S8", ["600423083519508503"]),  # of its alias
        ("?name=secret", []),
    ],
)
async def test_the_list_is_narrowed(api: Api, query: str, expected: list[str]) -> None:
    assert await ids(api, query) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?limit=1", [["9"], ["20"], ["600423083519508503"], ["600423083519508504"]]),
        ("?limit=2", [["9", "20"], ["600423083519508503", "600423083519508504"]]),  # no empty page at the end
        ("?limit=3", [["9", "20", "600423083519508503"], ["600423083519508504"]]),
        ("?limit=1&name=dream", [["9"], ["600423083519508503"]]),
        ("?limit=100", [["9", "20", "600423083519508503", "600423083519508504"]]),
    ],
)
async def test_every_model_is_on_one_page(api: Api, query: str, expected: list[list[str]]) -> None:
    assert [page async for page in pages(api, query)] == expected


async def test_a_page_holds_20_models_unless_asked(options: WebOptions, database: Database, redis: ArqRedis) -> None:
    many = Catalog([model(str(i), f"m{i}", Kind.CHECKPOINT, Family.SD15) for i in range(1, 26)])

    async with open_api(replace(options, catalog=many), database, redis) as api:
        assert len(await ids(api)) == 20


async def test_a_cursor_goes_on_although_its_model_has_gone(
    options: WebOptions, database: Database, redis: ArqRedis, api: Api
) -> None:
    _, first = await api.call("GET", "/v1/models?limit=1")
    without = replace(options, catalog=Catalog([each for each in MODELS if each.id != first["models"][0]["id"]]))

    async with open_api(without, database, redis) as later:
        assert await ids(later, f"?limit=1&cursor={first['nextCursor']}") == ["20"]


@pytest.mark.parametrize(
    ("query", "fields"),
    [
        ("?page=2", ["page"]),
        ("?page=2&Type=LORA&limit=0", ["limit", "Type", "page"]),
        ("?foo=", ["foo"]),
        ("?limit=101", ["limit"]),
        ("?limit=ten", ["limit"]),
        ("?limit=", ["limit"]),
        ("?type=OTHER", ["type"]),
        ("?type=lora", ["type"]),
        ("?baseModel=SD%201.5", ["baseModel"]),
        ("?limit=1&limit=2", ["limit"]),
        ("?baseModel=SD15&base_model=SDXL", ["base_model"]),
        ("?cursor=!&limit=0", ["limit", "cursor"]),
        ("?cursor=bm8", ["cursor"]),  # "no"
        ("?cursor=%C3%A9", ["cursor"]),
        ("?name=" + "x" * 257, ["name"]),
    ],
)
async def test_what_the_list_does_not_know_is_refused_by_name(api: Api, query: str, fields: list[str]) -> None:
    status, body = await api.call("GET", f"/v1/models{query}")

    assert (status, body["code"]) == (400, 3)
    assert sorted(each["field"] for each in body["details"][0]["fieldViolations"]) == sorted(fields)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/9"])
async def test_models_are_shown_to_accounts_only(api: Api, path: str) -> None:
    status, body = await api.call("GET", path, headers={"Authorization": "Bearer nobody"})

    assert (status, body["code"]) == (401, 16)
