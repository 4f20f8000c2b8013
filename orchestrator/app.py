"""The web process put together: what is opened, in which order, and which routes it serves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from arq.connections import ArqRedis

from jobs.catalog import Catalog
from jobs.credits import Rates
from jobs.links import Links
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.local_files import LocalFiles
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.resource_store import ResourceStore
from orchestrator.authentication import Authentication
from orchestrator.credits_api import CreditsApi
from orchestrator.error_edge import answer_errors
from orchestrator.health import Health
from orchestrator.intake import open_intake
from orchestrator.jobs_api import JobsApi
from orchestrator.resources_api import ResourcesApi
from orchestrator.sweeper import Sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    public_url: str
    secret: bytes = field(repr=False)
    files_folder: Path
    catalog: Catalog
    rates: Rates = field(default_factory=Rates)
    max_body_bytes: int
    max_upload_bytes: int
    max_upload_pixels: int
    sweep_every: timedelta
    max_attempts: int


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_app(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[web.Application]:
    """The application with its flusher and sweeper at work; both end on leaving."""
    jobs, queue, board = JobStore(database), JobQueue(redis), ProgressBoard(redis)
    authentication, resources = Authentication(AccountStore(database)), ResourceStore(database)
    links = Links(options.public_url, options.secret, now)
    sweeper = Sweeper(jobs, queue, every=options.sweep_every, max_attempts=options.max_attempts, now=now)
    async with open_intake(jobs, queue, sweeper.fill_soon) as intake, _running(sweeper):
        jobs_api = JobsApi(
            authentication=authentication,
            intake=intake,
            jobs=jobs,
            resources=resources,
            queue=queue,
            board=board,
            catalog=options.catalog,
            rates=options.rates,
            links=links,
            now=now,
        )
        credits_api = CreditsApi(authentication=authentication, catalog=options.catalog, rates=options.rates)
        resources_api = ResourcesApi(
            authentication=authentication,
            resources=resources,
            board=board,
            files=LocalFiles(options.files_folder),
            links=links,
            max_upload_bytes=options.max_upload_bytes,
            max_upload_pixels=options.max_upload_pixels,
        )
        app = web.Application(middlewares=[answer_errors], client_max_size=options.max_body_bytes)
        app.add_routes([*jobs_api.routes(), *credits_api.routes(), *resources_api.routes()])
        app.add_routes(Health(database, redis).routes())
        yield app


@asynccontextmanager
async def _running(sweeper: Sweeper) -> AsyncIterator[None]:
    task = asyncio.create_task(sweeper.sweep_for_ever())
    try:
        yield
    finally:
        task.cancel()
