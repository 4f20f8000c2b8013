"""JSON in and out over HTTP. It knows no endpoint."""

from typing import Any

import orjson
from aiohttp import web

from jobs.errors import Fault, InvalidSubmission


async def read_json(request: web.Request) -> tuple[Any, bytes]:
    """The value of a JSON body, and its bytes. Raises InvalidSubmission where it is not JSON."""
    body = await request.read()
    try:
        return orjson.loads(body), body
    except orjson.JSONDecodeError as error:
        raise InvalidSubmission([Fault("", f"the body is not JSON: {error}")]) from error


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(body), status=status, content_type="application/json")
