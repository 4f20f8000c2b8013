"""JSON in and out over HTTP. It knows no endpoint."""

import asyncio
import json
from collections import Counter
from typing import Any

import orjson
from aiohttp import web

from jobs.errors import Fault, InvalidSubmission
from orchestrator.packed_body import unpacked

BODY_WITHIN_S = 60


async def read_body(request: web.Request) -> bytes:
    """All of a body, as it was sent; a second call gives the same.

    Raises InvalidSubmission where it does not arrive in time.
    """
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await request.read()
    except TimeoutError as error:
        raise InvalidSubmission([Fault("", f"the body did not arrive within {BODY_WITHIN_S} s")]) from error


async def read_json(request: web.Request) -> Any:
    """The value of a JSON body. Raises InvalidSubmission where it is not JSON, or does not arrive in time."""
    body = await read_body(request)
    if body:
        body = unpacked(body, request.headers.get("Content-Encoding", ""), request.client_max_size)
    try:
        value = orjson.loads(body)
        # orjson would take the last of two values of one name, another reader the first.
        json.loads(body, object_pairs_hook=_refuse_repeats)
        return value
    except orjson.JSONDecodeError as error:
        raise InvalidSubmission([Fault("", f"the body is not JSON: {error}")]) from error
    except RecursionError as error:
        raise InvalidSubmission([Fault("", "the body is nested too deeply")]) from error


def _refuse_repeats(pairs: list[tuple[str, Any]]) -> None:
    """Keeps nothing: a second copy of a megabyte of small objects would cost more time than all the rest."""
    if len(dict(pairs)) < len(pairs):
        ((twice, _),) = Counter(name for name, _ in pairs).most_common(1)
        raise InvalidSubmission([Fault("", f"the name {twice[:40]!r} comes twice in one object")])


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
