"""What the guide of the API sends, spoiled: each body is answered as the document says, and soon."""

import json
import os
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
import pytest
from aiohttp import ClientError
from arq.connections import ArqRedis

from jobs.storage.database import Database
from orchestrator.app import WebOptions
from tests.jobs.dialects.parsing import CATALOG
from tests.orchestrator.conftest import Api, open_api
from tests.orchestrator.mutations import Spoiled, spoiled
from tests.orchestrator.test_resources_api import encoded

# `make fuzz` asks for more.
BODIES = int(os.environ.get("DARKROOM_FUZZ_BODIES", "300"))
SEED = int(os.environ.get("DARKROOM_FUZZ_SEED", "1"))
# Of the processor: an answer may wait its turn, but not keep others from theirs.
ANSWERED_WITHIN_S = 1.0
ANSWERED_WITHIN_BYTES = 100_000
GUIDE = [
    json.loads(file.read_text())
    for file in sorted((Path(__file__).parents[1] / "jobs/dialects/golden/requests").glob("guide_*.json"))
]
RUNNABLE = [golden for golden in GUIDE if golden.get("unsupported") == {}]
# In the guide's bodies.
ITS_REQUEST_ID, ITS_PICTURE = "unique_key", "f204c24a-52dc-4cf4-930a-9b8f73969414"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content: bytes
    cpu_s: float


class Document:
    """What /openapi.json says of answers."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._validators: dict[tuple[str, str, int], Any] = {}

    def check(self, method: str, path: str, status: int, body: Any) -> None:
        """Raises KeyError where the status is untold, and ValidationError where the body is another."""
        key = (method, path, status)
        if key not in self._validators:
            self._validators[key] = self._validator(*key)
        self._validators[key].validate(body)

    def _validator(self, method: str, path: str, status: int) -> Any:
        answer = self._document["paths"][path][method]["responses"][str(status)]
        schema = answer["content"]["application/json"]["schema"]
        return jsonschema_rs.validator_for(schema | {"components": self._document["components"]})


async def test_spoiled_bodies_of_the_guide_are_answered_as_the_document_says(
    options: WebOptions, database: Database, redis: ArqRedis, capsys: pytest.CaptureFixture[str]
) -> None:
    async with open_api(replace(options, catalog=CATALOG, max_body_bytes=2**20), database, redis) as api:
        picture, _, _ = await api.upload(encoded())
        document = Document((await api.call("GET", "/openapi.json"))[1])
        statuses: Counter[int] = Counter()
        wrong: list[str] = []
        slowest: list[tuple[float, int]] = []
        for number in range(BODIES):
            path, request = case(number, picture)
            answer = await answered(api, path, request)
            statuses[answer.status] += 1
            slowest = sorted([*slowest, (answer.cpu_s, number)])[-5:]
            if why := fault_of(answer, path, request, document):
                wrong.append(f"seed {SEED}, number {number}, POST {path}: {why}\n{request}"[:3000])
        listed = await all_jobs_listed(api, document)

    with capsys.disabled():
        print(f"\n{statuses.total()} spoiled bodies of the guide, by status: {dict(statuses)}; {listed} jobs listed")
        print("the slowest, CPU seconds and number:", ", ".join(f"{cpu_s:.3f} {number}" for cpu_s, number in slowest))
    assert not wrong, f"{len(wrong)} wrong:\n" + "\n".join(wrong[:20])
    assert statuses[200] > BODIES / 20 and listed > BODIES / 50, "hardly any got past the door"


def case(number: int, picture: str) -> tuple[str, Spoiled]:
    """The same for the same seed and number, but for the id of the picture."""
    random = Random(f"{SEED}:{number}")
    # Half of them such as are taken where they are spoiled no more than is allowed.
    text = json.dumps(random.choice(random.choice((GUIDE, RUNNABLE)))["body"])
    # Two of a kind, so that the second meets the first.
    body = json.loads(text.replace(ITS_REQUEST_ID, f"unique-{number // 2}").replace(ITS_PICTURE, picture))
    path = random.choices(
        ("/v1/jobs", "/v1/jobs/credits", "/v1/resource/image", "/v1/resource/image/sts"), (12, 5, 2, 1)
    )[0]
    if path == "/v1/jobs/credits":
        body = {"stages": body["stages"]}
    elif path == "/v1/jobs":
        body["notifyUrl"] = "https://client.example/done"
    else:
        body = {"expireSec": "3600", "term": 1}
    return path, spoiled(body, random)


async def answered(api: Api, path: str, request: Spoiled) -> Answer:
    headers = {"Authorization": f"Bearer {api.key}", "Content-Type": "application/json", **request.headers}
    began = time.process_time()
    try:
        async with api.client.post(path, data=request.content, headers=headers) as response:
            return Answer(response.status, await response.read(), time.process_time() - began)
    except ClientError as error:
        return Answer(0, repr(error).encode(), 0)


def fault_of(answer: Answer, path: str, request: Spoiled, document: Document) -> str | None:
    """What is wrong with an answer."""
    try:
        body = json.loads(answer.content)
        document.check("post", path, answer.status, body)
    except (KeyError, ValueError) as error:
        return f"answered {answer.status} {answer.content[:500]!r}, against the document: {error}"
    if answer.status >= 500 or (answer.status >= 400 and not (body["code"] and body["message"])):
        return f"answered {answer.status} {body}"
    if answer.status == 200 and request.content and not is_json(request.content):
        return "took what is no JSON"
    if answer.cpu_s > ANSWERED_WITHIN_S:
        return f"took {answer.cpu_s:.1f} s to answer {answer.status}"
    if len(answer.content) > ANSWERED_WITHIN_BYTES:
        return f"answered {answer.status} with {len(answer.content)} bytes"
    return None


def is_json(content: bytes) -> bool:
    """By the letter of RFC 8259, which leaves it open whether a name may come twice: here it may not."""
    try:
        json.loads(content.decode(), parse_constant=_none_such, object_pairs_hook=_once)
        return True
    except (ValueError, RecursionError):
        return False


def _none_such(literal: str) -> Any:
    raise ValueError(literal)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("twice")
    return dict(pairs)


async def all_jobs_listed(api: Api, document: Document) -> int:
    """How many there are; all that was taken can be told."""
    jobs, parameters = 0, {"limit": "100"}
    while True:
        status, page = await api.call("GET", "/v1/jobs", params=parameters)
        assert status == 200, page
        document.check("get", "/v1/jobs", status, page)
        jobs += len(page["jobs"])
        if "nextCursor" not in page:
            return jobs
        parameters["cursor"] = page["nextCursor"]
