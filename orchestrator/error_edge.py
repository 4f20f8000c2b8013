"""Where every error becomes an answer, and what was refused or slow a line of log."""

import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from aiohttp import web
from redis.exceptions import RedisError

from jobs.dialects.tams_response import error_body
from jobs.dialects.tams_signature import SCHEME
from jobs.errors import (
    DarkroomError,
    Fault,
    InvalidSubmission,
    NotFound,
    RateLimited,
    TooLarge,
    TooManyStreams,
    TooManyWaiting,
    Unavailable,
)
from jobs.names import quoted
from jobs.storage.database import DATABASE_AWAY
from orchestrator.json_http import json_response

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Streams of events, and of pictures, take as long as their readers do: of these it is no news.
SLOW_S = 1.0
# How long jobs, and streams, take is the account's to know; this keeps its clients from asking all the time.
WHEN_OTHERS_HAVE_ENDED_S = "5"

log = structlog.get_logger()


def answering_errors(*tell: Callable[[web.Request, web.StreamResponse], None]) -> Any:
    """A middleware. What `tell` adds to answers, it adds to those that tell of an error as well."""

    @web.middleware
    async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        try:
            response = await handler(request)
        except Exception as error:
            response = _answer(request, error)
        for each in tell:
            each(request, response)
        seconds = time.perf_counter() - started
        if response.status >= 400 or (seconds > SLOW_S and isinstance(response, web.Response)):
            _log(request, response.status, seconds)
        return response

    return answer_errors


def _log(request: web.Request, status: int, seconds: float) -> None:
    log.info("request_answered", method=request.method, path=request.path, status=status, seconds=round(seconds, 4))


def _answer(request: web.Request, error: Exception) -> web.StreamResponse:
    match error:
        case DarkroomError():
            status, body = error_body(error)
        case web.HTTPRequestEntityTooLarge():
            status, body = error_body(TooLarge(f"The body is over {request.client_max_size} bytes."))
        case web.HTTPNotFound():
            status, body = error_body(NotFound(f"There is no {request.method} {request.path}."))
        case web.RequestPayloadError():
            status, body = error_body(
                InvalidSubmission([Fault("", "the body cannot be read: it is cut off or damaged")])
            )
        case web.HTTPMethodNotAllowed():
            taken = quoted(sorted(error.allowed_methods), "or")
            reason = f"There is no {request.method} {request.path}; this address takes {taken}."
            status, body = error.status, {"code": 12, "message": reason, "details": []}
        case web.HTTPException():
            status, body = error.status, {"code": 12, "message": error.reason, "details": []}
        case _ if isinstance(error, (*DATABASE_AWAY, RedisError)):
            log.error("store_unreachable", path=request.path, error=repr(error))
            status, body = error_body(Unavailable())
        case _:
            log.exception("request_failed", path=request.path)
            status, body = error_body(DarkroomError("Something went wrong on the server; it was logged."))
    response = json_response(body, status)
    if isinstance(error, web.RequestPayloadError):
        response.force_close()  # aiohttp cannot find where the next request begins
    if isinstance(error, web.HTTPMethodNotAllowed):
        response.headers["Allow"] = error.headers["Allow"]
    if status == 503:
        response.headers["Retry-After"] = "1"
    if isinstance(error, TooManyWaiting | TooManyStreams):
        response.headers["Retry-After"] = WHEN_OTHERS_HAVE_ENDED_S
    if isinstance(error, RateLimited):
        response.headers["Retry-After"] = str(math.ceil(error.wait_s))
    if status == 401:
        response.headers["WWW-Authenticate"] = f'Bearer realm="darkroom", {SCHEME}'
    return response
