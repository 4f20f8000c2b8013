"""JSON in and out over HTTP. It knows no endpoint."""

import asyncio
from typing import Any

import orjson
from aiohttp import web

from jobs.errors import Fault, InvalidSubmission

BODY_WITHIN_S = 60


async def read_json(request: web.Request) -> Any:
    """The value of a JSON body. Raises InvalidSubmission where it is not JSON, or does not arrive in time."""
    try:
        async with asyncio.timeout(BODY_WITHIN_S):
            return orjson.loads(await request.read())
    except TimeoutError as error:
        raise InvalidSubmission([Fault("", f"the body did not arrive within {BODY_WITHIN_S} s")]) from error
    except orjson.JSONDecodeError as error:
        raise InvalidSubmission([Fault("", f"the body is not JSON: {error}")]) from error


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
