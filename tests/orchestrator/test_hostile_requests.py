"""Requests that no honest client sends: each gets a clear refusal in the API's words, never a server error."""

import asyncio
import gzip
import json
import re
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.orchestrator.conftest import Api, body


def nested(depth: int, *, lists: bool) -> str:
    return "[" * depth + "]" * depth if lists else '{"a":' * depth + "1" + "}" * depth


def a_refusal(answer: Any) -> bool:
    """Whether this is a google.rpc.Status that says why."""
    return answer.keys() == {"code", "message", "details"} and bool(answer["message"]) and answer["code"] > 0


async def raw(api: Api, request: bytes) -> tuple[int, Any]:
    """Sends bytes that no client library would let through."""
    reader, writer = await asyncio.open_connection(api.client.host, api.client.port)
    writer.write(request)
    async with asyncio.timeout(5):
        head, _, content = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), json.loads(content) if content.startswith(b"{") else None


@pytest.mark.parametrize("depth", [100, 240, 300, 1000, 3000])
@pytest.mark.parametrize("lists", [True, False])
async def test_deep_nesting_is_refused(api: Api, depth: int, lists: bool) -> None:
    content = json.dumps(body(lora="HERE")).replace('"HERE"', nested(depth, lists=lists))

    status, answer = await api.call("POST", "/v1/jobs", data=content.encode())

    assert status == 400 and a_refusal(answer)


@pytest.mark.parametrize(
    "content",
    [
        '{"requestId": "a", "requestId": "b", "stages": []}',
        json.dumps(body()).replace('"width": 512', '"width": 512, "width": 1024'),
        json.dumps(body()).replace('"width": 512', '"width": 512, "\\u0077idth": 512'),
    ],
)
async def test_a_name_that_comes_twice_is_refused(api: Api, content: str) -> None:
    status, answer = await api.call("POST", "/v1/jobs", data=content.encode())

    assert (status, answer["code"]) == (400, 3)
    assert "duplicate key" in answer["message"]


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "01", "'x'", "1" * 400])
async def test_numbers_that_are_no_json_are_refused(api: Api, value: str) -> None:
    content = json.dumps(body(cfgScale="HERE")).replace('"HERE"', value)

    status, answer = await api.call("POST", "/v1/jobs", data=content.encode())

    assert status == 400 and a_refusal(answer)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "none-such"])
async def test_a_body_that_is_not_packed_as_it_says_is_refused(api: Api, encoding: str) -> None:
    packed = gzip.compress(json.dumps(body()).encode())

    for content in (b"this is not packed", packed[:-12], packed[:-1], packed + b"x", packed + packed):
        status, answer = await api.call("POST", "/v1/jobs", data=content, headers={"Content-Encoding": encoding})
        assert status == 400 and a_refusal(answer)


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("identity", bytes), ("gzip", gzip.compress), ("X-GZip", gzip.compress), ("deflate", zlib.compress)],
)
async def test_a_body_may_come_packed(api: Api, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    content = pack(json.dumps(body()).encode())

    status, answer = await api.call("POST", "/v1/jobs", data=content, headers={"Content-Encoding": encoding})

    assert status == 200, answer


async def test_a_body_that_unpacks_to_more_than_the_limit_is_refused(api: Api) -> None:
    bomb = gzip.compress(b" " * 50_000_000)

    status, answer = await api.call("POST", "/v1/jobs", data=bomb, headers={"Content-Encoding": "gzip"})

    assert (status, answer["code"]) == (413, 3)


@pytest.mark.parametrize(
    "line",
    [
        b"GET /v1/jobs/\xff\xfe",
        b"GET /v1/jobs/%ff",
        b"GET /v1/jobs/" + b"9" * 5000,
        b"GET /v1/jobs/%00",
        b"GET /v1/jobs/..%2f..%2fetc",
        b"GET /\xf0\x28\x8c\x28",
        b"GET /v1/images/%ff?expires=1&signature=%ff",
        b"GET /v1/images/x?expires=" + b"9" * 5000 + b"&signature=x",
        b"GET /v1/images/x?expires=%d9%a3&signature=\xff",
        b"GET /v1/previews/%2e%2e?expires=&signature=",
        b"BREW /v1/jobs",
        b"POST /v1/jobs/1",
        b"DELETE /v1/images/x",
    ],
)
async def test_strange_addresses_are_refused(api: Api, line: bytes) -> None:
    head = b"\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + api.key.encode() + b"\r\n\r\n"

    status, answer = await raw(api, line + b" HTTP/1.1" + head)

    assert 400 <= status < 500, answer
    assert answer is None or a_refusal(answer)


@pytest.mark.parametrize("key", [b"\xff", b"\xc3\xa9", b"x" * 5000, b" ", b"\xed\xb3\xbf"])
async def test_keys_that_are_no_text_are_unknown(api: Api, key: bytes) -> None:
    head = b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer " + key + b"\r\n\r\n"

    status, answer = await raw(api, b"GET /v1/jobs/1" + head)

    assert status == 401 and a_refusal(answer)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", "/v1/jobs", "GET,POST"),
        ("PUT", "/v1/jobs/1", "DELETE,GET,HEAD"),
        ("GET", "/v1/jobs/1/cancel", "POST"),
        ("POST", "/v1/jobs/1/events", "GET"),
        ("GET", "/v1/jobs/workflow/template", "POST"),
        ("DELETE", "/v1/workflows/1", "GET,HEAD"),
        ("GET", "/v1/resource/image", "POST"),
    ],
)
async def test_a_wrong_method_is_told_which_are_right(api: Api, method: str, path: str, allowed: str) -> None:
    async with api.client.request(method, path) as response:
        answer = await response.json()

    assert response.status == 405 and a_refusal(answer)
    said, _, taken = answer["message"].partition("; this address takes ")
    assert said == f"There is no {method} {path}"
    assert re.findall(r"'(\w+)'", taken) == allowed.split(",")
    assert response.headers["Allow"] == allowed


async def test_a_body_of_another_content_type_is_read_as_json_all_the_same(api: Api) -> None:
    status, _ = await api.call(
        "POST", "/v1/jobs", data=json.dumps(body()).encode(), headers={"Content-Type": "text/plain; charset=utf-16"}
    )

    assert status == 200


async def test_an_error_never_repeats_all_of_a_long_value(api: Api) -> None:
    for field in ("sdModel", "sampler", "sdVae"):
        status, answer = await api.post_job(body(**{field: "x" * 100_000}))
        assert status == 400 and len(json.dumps(answer)) < 2000


@pytest.mark.parametrize("name", ["x" * 100_000, "_" * 100_000 + "stages"])
async def test_an_error_never_repeats_all_of_a_long_name(api: Api, name: str) -> None:
    for path in ("/v1/jobs", "/v1/jobs/credits", "/v1/resource/image"):
        status, answer = await api.call("POST", path, json={name: []})
        assert status == 400 and len(json.dumps(answer)) < 2000


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/jobs/credits", "/v1/resource/image", "/v1/resource/image/sts"])
async def test_an_answer_tells_a_hundred_faults_and_no_more(api: Api, path: str) -> None:
    status, answer = await api.call("POST", path, json={f"n{i}": i for i in range(10_000)})

    assert status == 400 and len(answer["details"][0]["fieldViolations"]) == 100


async def test_a_client_that_goes_away_half_way_harms_no_other(api: Api) -> None:
    _, writer = await asyncio.open_connection(api.client.host, api.client.port)
    writer.write(b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer ")
    writer.write(api.key.encode() + b"\r\n\r\n{")
    await writer.drain()
    writer.close()

    assert (await api.post_job(body()))[0] == 200
