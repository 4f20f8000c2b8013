"""The web process put together: what is opened, in which order, and which routes it serves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiohttp import web
from arq.connections import ArqRedis

from jobs.catalog import Catalog
from jobs.links import Links
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.database import Database
from jobs.storage.event_store import EventStore
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.local_files import LocalFiles
from jobs.storage.nonces import Nonces
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.rate_buckets import RateBuckets
from jobs.storage.resource_store import ResourceStore
from orchestrator.authentication import Authentication
from orchestrator.error_edge import answer_errors
from orchestrator.health import Health
from orchestrator.intake import open_intake
from orchestrator.job_cancel import JobCancelApi
from orchestrator.job_events import JobEventsApi
from orchestrator.job_feed import JobFeed
from orchestrator.job_list import JobListApi
from orchestrator.job_views import JobViews
from orchestrator.jobs_api import JobsApi
from orchestrator.last_used import open_last_used
from orchestrator.models_api import ModelsApi
from orchestrator.not_yet import NotYetApi
from orchestrator.open_streams import OpenStreams
from orchestrator.rate_limit import RateLimiter, tell_allowance
from orchestrator.resources_api import ResourcesApi
from orchestrator.sweeper import Sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    public_url: str
    secret: bytes = field(repr=False)
    files_folder: Path
    catalog: Catalog
    max_body_bytes: int
    max_upload_bytes: int
    max_upload_pixels: int
    signature_window: timedelta
    max_streams: int
    max_streams_per_account: int
    sweep_every: timedelta
    max_attempts: int


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_app(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[web.Application]:
    """The application with its flusher, sweeper and feed at work; all end on leaving."""
    jobs, queue, board = JobStore(database), JobQueue(redis), ProgressBoard(redis)
    resources = ResourceStore(database)
    links = Links(options.public_url, options.secret, now)
    views, events = JobViews(jobs, queue, board), EventStore(database)
    feed = JobFeed(jobs, events, views)
    sweeper = Sweeper(jobs, queue, every=options.sweep_every, max_attempts=options.max_attempts, now=now)
    async with (
        open_intake(jobs, queue, sweeper.fill_soon) as intake,
        _running(sweeper.sweep_for_ever()),
        _running(feed.poll_for_ever()),
        _open_authentication(options, database, redis) as authentication,
    ):
        jobs_api = JobsApi(
            authentication=authentication,
            intake=intake,
            jobs=jobs,
            resources=resources,
            views=views,
            catalog=options.catalog,
            links=links,
            now=now,
        )
        models_api = ModelsApi(authentication=authentication, catalog=options.catalog)
        resources_api = ResourcesApi(
            authentication=authentication,
            resources=resources,
            board=board,
            files=LocalFiles(options.files_folder),
            links=links,
            max_upload_bytes=options.max_upload_bytes,
            max_upload_pixels=options.max_upload_pixels,
        )
        job_events_api = JobEventsApi(
            authentication=authentication,
            jobs=jobs,
            events=events,
            feed=feed,
            links=links,
            open_streams=OpenStreams(options.max_streams, options.max_streams_per_account),
        )
        app = web.Application(middlewares=[tell_allowance, answer_errors], client_max_size=options.max_body_bytes)
        app.add_routes([*jobs_api.routes(), *models_api.routes(), *resources_api.routes()])
        app.add_routes(JobListApi(authentication=authentication, jobs=jobs, views=views, links=links).routes())
        app.add_routes(JobCancelApi(authentication=authentication, jobs=jobs, queue=queue).routes())
        app.add_routes([*job_events_api.routes(), *NotYetApi(authentication).routes()])
        app.add_routes(Health(database, redis).routes())
        app.on_shutdown.append(feed.close)
        yield app


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()


@asynccontextmanager
async def _open_authentication(
    options: WebOptions, database: Database, redis: ArqRedis
) -> AsyncIterator[Authentication]:
    accounts, apps = AccountStore(database), AppStore(database)
    async with open_last_used(accounts, apps) as last_used:
        yield Authentication(
            accounts=accounts,
            apps=apps,
            nonces=Nonces(redis),
            limiter=RateLimiter(RateBuckets(redis)),
            last_used=last_used,
            signature_window=options.signature_window,
            now=now,
        )
