"""Pictures sent by a browser's form: what is taken, what is refused and when, and who may ask from where."""

import asyncio
import io
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from aiohttp import FormData
from arq.connections import ArqRedis
from PIL import Image

from jobs.links import Links
from jobs.storage.database import Database
from orchestrator import resources_api
from orchestrator.app import WebOptions, now
from tests.orchestrator.conftest import MAX_UPLOAD_BYTES, SECRET, Api, body, open_api, path_of

BOUNDARY = "a-line-between"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def picture(colour: str = "red") -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(content, "PNG")
    return content.getvalue()


async def new_form(api: Api, **asked: Any) -> dict[str, str]:
    status, form = await api.call("POST", "/v1/resource/image/sts", json=asked)
    assert status == 200, form
    return form  # type: ignore[no-any-return]


def fields(form: dict[str, str], **changes: str | None) -> dict[str, str]:
    """As browser libraries for OSS fill them; None leaves one out."""
    whole = {
        "key": form["filePath"],
        "OSSAccessKeyId": form["accessId"],
        "policy": form["policy"],
        "Signature": form["signature"],
        "callback": form["callback"],
        "x-oss-security-token": form["securityToken"],
        "success_action_status": "200",
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


async def post(api: Api, form: dict[str, str], content: bytes | None = None, **changes: str | None) -> tuple[int, Any]:
    """Without a key: the form is enough."""
    data = FormData(fields(form, **changes))
    if content is not None:
        data.add_field("file", content, filename="picture.png", content_type="image/png")
    async with api.client.post(path_of(form["host"]), data=data) as response:
        return response.status, await response.json() if response.status != 204 else await response.read()


def multipart(parts: Iterable[tuple[str, bytes]], *, end: str = f"--{BOUNDARY}--\r\n") -> bytes:
    """A form by hand, for what no library sends."""
    lines = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
        for name, value in parts
    )
    return b"".join(lines) + end.encode()


async def post_raw(api: Api, content: bytes, **headers: str) -> tuple[int, Any]:
    async with api.client.post("/v1/resource/upload", data=content, headers={**MULTIPART, **headers}) as response:
        return response.status, await response.json()


async def begins_a_job(api: Api, resource_id: str) -> bool:
    request = body()
    request["stages"][0]["inputInitialize"]["imageResourceId"] = resource_id
    return (await api.post_job(request))[0] == 200


async def test_a_picture_sent_by_the_form_becomes_the_beginning_of_a_job(api: Api) -> None:
    form = await new_form(api)

    status, answer = await post(api, form, picture())

    assert (status, answer) == (200, {"Status": "OK"})
    assert await begins_a_job(api, form["resourceId"])


@pytest.mark.parametrize("asked", [{}, {"expireSec": "60", "term": 2}, {"expire_sec": 60}])
async def test_the_form_has_the_fields_of_the_api_and_all_are_strings(api: Api, asked: dict[str, Any]) -> None:
    form = await new_form(api, **asked)

    names = "resourceId accessId signature host expire callback filePath policy securityToken"
    assert list(form) == names.split()
    assert all(isinstance(value, str) and value for value in form.values())
    assert form["host"] == "http://public.example/v1/resource/upload"
    assert UUID(form["resourceId"])
    lifetime = 60 if asked else 3600
    assert int(form["expire"]) == pytest.approx(now().timestamp() + lifetime, abs=30)


@pytest.mark.parametrize("asked", [{"expireSec": -1}, {"expireSec": 10**9}, {"term": 3}, {"size": 1}])
async def test_a_form_that_asks_for_too_much_is_refused(api: Api, asked: dict[str, Any]) -> None:
    status, answer = await api.call("POST", "/v1/resource/image/sts", json=asked)

    assert (status, answer["code"]) == (400, 3)


async def test_a_form_needs_a_key_to_be_signed(api: Api) -> None:
    async with api.client.post("/v1/resource/image/sts", json={}) as response:
        assert response.status == 401


@pytest.mark.parametrize(("asked", "status"), [("200", 200), ("201", 201), ("204", 204), ("", 200), (None, 200)])
async def test_the_status_of_success_is_the_one_that_was_asked_for(api: Api, asked: str | None, status: int) -> None:
    answered, answer = await post(api, await new_form(api), picture(), success_action_status=asked)

    assert answered == status
    assert answer == (b"" if status == 204 else {"Status": "OK"})


async def test_names_are_taken_in_any_case_and_libraries_may_add_fields(api: Api) -> None:
    form = await new_form(api)
    signature = {"Signature": None, "signature": form["signature"], "Key": form["filePath"], "key": None}

    status, _ = await post(api, form, picture(), **signature, name="picture.png", id="WU_FILE_0")

    assert status == 200


@pytest.mark.parametrize(
    ("changes", "status", "field"),
    [
        ({"Signature": "AAAA"}, 403, None),
        ({"policy": "e30="}, 403, None),
        ({"key": f"uploads/{uuid4()}"}, 403, None),
        ({"callback": "e30="}, 403, None),
        ({"OSSAccessKeyId": "me"}, 403, None),
        ({"policy": None}, 400, "policy"),
        ({"key": None}, 400, "key"),
        ({"success_action_status": "302"}, 400, "success_action_status"),
        ({"success_action_redirect": "https://elsewhere.example"}, 400, "success_action_redirect"),
    ],
)
async def test_a_form_that_is_not_the_one_that_was_signed_is_refused(
    api: Api, changes: dict[str, str | None], status: int, field: str | None
) -> None:
    form = await new_form(api)

    answered, answer = await post(api, form, picture(), **changes)

    assert answered == status, answer
    if field:
        assert [each["field"] for each in answer["details"][0]["fieldViolations"]] == [field]
    assert not await begins_a_job(api, form["resourceId"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the picture of resource {} has no bytes: the upload is empty"), (b"x", "the picture is of no kind")],
)
async def test_a_file_that_is_no_picture_is_told_as_the_forms_file(api: Api, content: bytes, reason: str) -> None:
    form = await new_form(api)

    status, answer = await post(api, form, content)

    (violation,) = answer["details"][0]["fieldViolations"]
    assert (status, violation["field"]) == (400, "file")
    assert violation["description"].startswith(reason.format(form["resourceId"]))


async def test_a_form_is_checked_before_its_file_has_come(api: Api) -> None:
    """Else whoever has no form could still make us read."""
    form = await new_form(api)
    answered = asyncio.Event()

    async def without_end():  # type: ignore[no-untyped-def]
        yield multipart([(name, value.encode()) for name, value in fields(form, policy="e30=").items()], end="")
        yield f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"\r\n\r\n'.encode()
        while not answered.is_set():
            yield bytes(1000)
            await asyncio.sleep(0.1)

    async with asyncio.timeout(60):
        response = await api.client.post("/v1/resource/upload", data=without_end(), headers=MULTIPART)
    answered.set()

    assert response.status == 403


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 400), (b"<svg/>", 400), (picture()[:60], 400), (bytes(MAX_UPLOAD_BYTES + 1), 413)],
)
async def test_what_is_no_bounded_picture_is_refused(api: Api, content: bytes, status: int) -> None:
    form = await new_form(api)

    answered, answer = await post(api, form, content)

    assert answered == status and answer["message"]
    assert (await post(api, form, picture()))[0] == 200  # the form still works


async def test_the_form_keeps_its_first_picture(api: Api) -> None:
    form = await new_form(api)

    answers = [await post(api, form, content) for content in (picture(), picture(), picture("blue"))]

    assert [status for status, _ in answers] == [200, 200, 404]


async def test_a_field_after_the_file_is_refused(api: Api) -> None:
    form = await new_form(api)
    parts = [(name, value.encode()) for name, value in fields(form).items()]

    status, answer = await post_raw(api, multipart([*parts, ("file", picture()), ("submit", b"Upload")]))

    assert status == 400
    assert answer["details"][0]["fieldViolations"] == [{"field": "file", "description": "must be the last field"}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "boundary"),
        (b"no form at all", "boundary"),
        (multipart([("policy", b"x")]), "as the last field"),
        (multipart([("policy", b"x"), ("Policy", b"y")]), "comes twice"),
        (multipart([("policy", b"x" * 20_000)]), "policy: is over 16384 bytes"),
        (multipart([(f"x{i}", b"") for i in range(50)]), "more than 40 fields"),
        (multipart([("policy", b"\xff\xfe")]), "cannot be read"),
        (multipart([("policy", b"x")], end="--anything"), "cannot be read"),
        (b"--" + BOUNDARY.encode() + b"\r\nContent-Type: text/plain\r\n\r\nx\r\n", "a field with a name"),
        (
            b"--" + BOUNDARY.encode() + b"\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n",
            "a field with a name",
        ),
        (b"--" + BOUNDARY.encode() + b"\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n", "cannot be read"),
        (b"--" + BOUNDARY.encode() + b"\r\nX-A: " + b"b" * 100_000 + b"\r\n\r\n", "cannot be read"),
    ],
)
async def test_a_broken_form_is_refused_with_its_reason(api: Api, content: bytes, reason: str) -> None:
    status, answer = await post_raw(api, content)

    assert status == 400, answer
    assert reason in answer["message"]


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data", "multipart/form-data; boundary="])
async def test_a_body_that_says_it_is_no_form_is_refused(api: Api, content_type: str) -> None:
    status, answer = await post_raw(api, b"{}", **{"Content-Type": content_type})

    assert (status, answer["code"]) == (400, 3)


async def test_a_picture_that_does_not_arrive_in_its_time_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources_api, "ARRIVES_WITHIN", timedelta(seconds=0.05))
    _, resource = await api.call("POST", "/v1/resource/image", json={})

    async def slow():  # type: ignore[no-untyped-def]
        yield picture()[:10]
        await asyncio.sleep(30)
        yield picture()[10:]

    async with api.client.put(path_of(resource["putUrl"]), data=slow()) as response:
        answer = await response.json()

    assert response.status == 400 and "did not arrive" in answer["message"]


async def test_more_pictures_at_once_than_memory_allows_are_told_to_come_again(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow():  # type: ignore[no-untyped-def]
        yield picture()[:10]
        arrived.set()
        await go_on.wait()
        yield picture()[10:]

    puts = []
    for _ in range(resources_api.MAX_AT_ONCE):
        _, resource = await api.call("POST", "/v1/resource/image", json={})
        puts.append(asyncio.create_task(api.client.put(path_of(resource["putUrl"]), data=slow())))
    form = await new_form(api)
    while (await post(api, form, picture()))[0] != 503:
        await asyncio.sleep(0.05)
    async with api.client.post(path_of(form["host"]), data=FormData(fields(form))) as refused:
        assert refused.headers["Retry-After"]
    go_on.set()
    statuses = {(await put).status for put in puts}

    assert statuses == {200}


@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/resource/image/0"), ("POST", "/v1/resource/upload")])
async def test_a_page_of_any_site_may_upload_and_read_the_answer(api: Api, method: str, path: str) -> None:
    asks = {
        "Origin": "https://app.example",
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "content-type,x-requested-with",
    }

    async with api.client.options(path, headers=asks) as preflight:
        headers = preflight.headers
    async with api.client.request(method, path, headers={"Origin": "https://app.example"}) as refused:
        pass

    assert (preflight.status, headers["Access-Control-Allow-Methods"]) == (204, method)
    assert (headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Headers"]) == ("*", "*")
    assert refused.status in (400, 403) and refused.headers["Access-Control-Allow-Origin"] == "*"


async def test_only_pages_of_the_sites_that_are_named_may_upload(
    options: WebOptions, database: Database, redis: ArqRedis
) -> None:
    ours, others = "https://app.example", "https://other.example"
    allowed = []
    async with open_api(replace(options, upload_origins=(ours,)), database, redis) as api:
        for origin in (ours, others):
            async with api.client.options("/v1/resource/upload", headers={"Origin": origin}) as response:
                allowed.append(response.headers.get("Access-Control-Allow-Origin"))

    assert allowed == [ours, None]


async def test_no_other_route_is_open_to_pages(api: Api) -> None:
    for method, path in (("OPTIONS", "/v1/jobs"), ("GET", "/v1/jobs/1"), ("POST", "/v1/resource/image"), ("GET", "/x")):
        async with api.client.request(method, path, headers={"Origin": "https://app.example"}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers
            assert response.status >= 400


async def test_a_links_signature_signs_no_form(api: Api) -> None:
    form = await new_form(api)
    link = Links("", SECRET, now).sign("POST", "/v1/resource/upload", timedelta(minutes=1))

    assert (await post(api, form, picture(), Signature=link.rsplit("=", 1)[1]))[0] == 403
