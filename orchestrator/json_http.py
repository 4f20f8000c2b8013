"""JSON in and out over HTTP. It knows no endpoint."""

import asyncio
from typing import Any

import jiter
import orjson
from aiohttp import web

from jobs.errors import Fault, InvalidSubmission
from orchestrator.packed_body import unpacked

BODY_WITHIN_S = 60


async def read_body(request: web.Request) -> bytes:
    """All of a body, as it was sent; a second call gives the same.

    Raises InvalidSubmission where it does not arrive in time.
    """
    if request.content.is_eof():
        return await request.read()  # it came with the head, as most do
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return await request.read()
    except TimeoutError as error:
        raise InvalidSubmission([Fault("", f"the body did not arrive within {BODY_WITHIN_S} s")]) from error


async def read_json(request: web.Request) -> Any:
    """The value of a JSON body. Raises InvalidSubmission where it is not JSON, or does not arrive in time."""
    return json_of(await read_body(request), request.headers.get("Content-Encoding", ""), request.client_max_size)


def json_of(packed: bytes, encoding: str, limit: int) -> Any:
    """Raises InvalidSubmission, or TooLarge where it unpacks to over `limit` bytes."""
    body = unpacked(packed, encoding, limit)
    if not body:
        raise InvalidSubmission([Fault("", "the body is empty; it must be a JSON object")])
    try:
        # Of two values of one name some readers take the first, others the last: such a body is refused.
        return jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError as error:
        raise InvalidSubmission([Fault("", f"the body cannot be read as JSON: {_short(str(error))}")]) from error


def _short(reason: str) -> str:
    # It quotes the name that comes twice, and says at its end where.
    return reason if len(reason) <= 200 else f"{reason[:100]} … {reason[-50:]}"


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
