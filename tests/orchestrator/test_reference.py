"""The reference tells every route, and nothing else."""

from typing import Any

import pytest

from orchestrator.not_yet import PATHS
from orchestrator.operations import OPERATIONS
from tests.orchestrator.conftest import Api

# Of the service itself, or not built yet.
UNTOLD = {"/healthz", "/readyz", "/openapi.json", "/", "/docs"} | {path for _, path in PATHS}


async def test_every_route_is_told_and_every_told_operation_is_served(api: Api) -> None:
    served = {
        (route.method, route.resource.canonical)
        for route in api.client.app.router.routes()
        if route.resource and route.resource.canonical not in UNTOLD and route.method not in ("HEAD", "OPTIONS")
    }

    assert {(operation.method, operation.path) for operation in OPERATIONS} == served


async def test_the_document_is_openapi_whose_references_lead_somewhere(api: Api) -> None:
    _, document = await api.call("GET", "/openapi.json")

    assert document["openapi"] == "3.1.0"
    assert document["servers"] == [{"url": "http://public.example"}]
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"], reference


async def test_the_example_of_a_job_is_accepted(api: Api) -> None:
    _, document = await api.call("GET", "/openapi.json")
    example = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]["application/json"]["example"]

    status, body = await api.post_job(example)

    assert status == 200, body


async def test_a_detection_may_be_refused_as_the_job_that_it_makes(api: Api) -> None:
    _, document = await api.call("GET", "/openapi.json")
    answers = document["paths"]["/v1/controlnet/detect"]["post"]["responses"]

    assert "as many waiting jobs as it may" in answers["429"]["description"]
    assert "not enough credits" in answers["400"]["description"]
    assert answers.keys() >= {"404", "503"}


@pytest.mark.parametrize("told", ["POST", "/v1/jobs/{id}/events", "requestId"])
async def test_the_page_tells_the_operations_and_their_fields_and_runs_nothing(api: Api, told: str) -> None:
    async with api.client.get("/docs") as response:
        page = await response.text()

    assert told in page
    assert "<script" not in page
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def _references(value: Any) -> list[str]:
    match value:
        case {"$ref": str(reference)}:
            return [reference]
        case dict():
            return [each for inner in value.values() for each in _references(inner)]
        case list():
            return [each for inner in value for each in _references(inner)]
    return []


async def test_the_beginning_leads_to_the_reference(api: Api) -> None:
    async with api.client.get("/", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (302, "docs")
    async with api.client.get("/") as response:
        page = await response.text()

    assert "stages[].diffusion.prompts[].text" in page
