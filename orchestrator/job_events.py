"""GET /v1/jobs/{id}/events: a job's life as server-sent events, until it ends. It finds no events: the feed does."""

import time
from asyncio import timeout

import structlog
from aiohttp import web

from jobs.account import Scope
from jobs.dialects.event_stream import HEARTBEAT, RETRY, durable_event, live_event
from jobs.events import NOTHING_YET, JobEvent
from jobs.links import Links
from jobs.storage.event_store import EventStore
from jobs.storage.job_store import JobStore
from orchestrator.authentication import Authentication
from orchestrator.job_feed import JobFeed, Subscription, Update
from orchestrator.job_path import JOB_PATH, job_id_of
from orchestrator.open_streams import OpenStreams

HEARTBEAT_EVERY_S = 15
# How soon we see that a silent stream's client has gone.
LOOK_EVERY_S = 1
# For a reader whose buffers, and ours, are full.
WRITE_WITHIN_S = 10
# Then the client comes again, where it was, with a key that is looked at anew.
LIFE_S = 3600
HEADERS = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}

log = structlog.get_logger()


class JobEventsApi:
    def __init__(
        self,
        *,
        authentication: Authentication,
        jobs: JobStore,
        events: EventStore,
        feed: JobFeed,
        links: Links,
        open_streams: OpenStreams,
    ) -> None:
        self._authentication = authentication
        self._jobs = jobs
        self._events = events
        self._feed = feed
        self._links = links
        self._open_streams = open_streams

    def routes(self) -> list[web.RouteDef]:
        return [web.get(f"{JOB_PATH}/events", self.stream, allow_head=False)]

    async def stream(self, request: web.Request) -> web.StreamResponse:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        job = await self._jobs.get(account.id, job_id_of(request))
        with self._open_streams.one_more(account.id):
            events = (await self._events.after({job.id: NOTHING_YET})).get(job.id, [])
            last = _last_known(request, events)
            if last and last.kind.is_final:
                return web.Response(status=204)  # what tells an EventSource to come no more
            with self._feed.subscribe(job, last.id if last else NOTHING_YET) as subscription:
                return await self._send(request, subscription)

    async def _send(self, request: web.Request, subscription: Subscription) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        try:
            await _write(request, response, RETRY)
            await self._pass_on(request, response, subscription)
        except ConnectionError:
            log.info("stream_reader_lost", job_id=subscription.job.id)
        return response

    async def _pass_on(self, request: web.Request, response: web.StreamResponse, subscription: Subscription) -> None:
        began = told = time.monotonic()
        while not subscription.is_closed and time.monotonic() < began + LIFE_S and not has_gone(request):
            update = await subscription.next(within_s=LOOK_EVERY_S)
            if update:
                await _write(request, response, self._frames(update))
            elif time.monotonic() > told + HEARTBEAT_EVERY_S:
                await _write(request, response, HEARTBEAT)
            else:
                continue
            told = time.monotonic()
            if update and update.is_last:
                return

    def _frames(self, update: Update) -> bytes:
        if not update.events:
            return live_event(update.view, self._links)
        return b"".join(durable_event(event, update.view, self._links) for event in update.events)


def _last_known(request: web.Request, events: list[JobEvent]) -> JobEvent | None:
    """What the client says it has seen. Of an id that is none of the job's nothing follows: it hears all."""
    header = request.headers.get("Last-Event-ID")
    return next((event for event in events if str(event.id) == header), None)


async def _write(request: web.Request, response: web.StreamResponse, content: bytes) -> None:
    try:
        async with timeout(WRITE_WITHIN_S):
            await response.write(content)
    except TimeoutError as error:
        # Dropped and not waited for: it comes again, and is told what it has missed.
        if request.transport:
            request.transport.abort()
        raise ConnectionAbortedError from error


def has_gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()
