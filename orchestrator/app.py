"""The web process put together: what is opened, in which order, and which routes it serves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from arq.connections import ArqRedis

from jobs.catalog import Catalog
from jobs.links import Links
from jobs.storage.account_store import AccountStore
from jobs.storage.cleaning_store import CleaningStore
from jobs.storage.database import Database
from jobs.storage.files import FilesPlace, open_files
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.resource_store import ResourceStore
from jobs.upload_form import UploadForms
from orchestrator.authentication import Authentication
from orchestrator.cleaner import Cleaner
from orchestrator.cors import Cors
from orchestrator.error_edge import answer_errors
from orchestrator.health import Health
from orchestrator.intake import open_intake
from orchestrator.jobs_api import JobsApi
from orchestrator.picture_reader import open_picture_reader
from orchestrator.pictures_api import PicturesApi
from orchestrator.resources_api import FORM_PATH, METHODS, ResourcesApi
from orchestrator.sweeper import Sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    public_url: str
    secret: bytes = field(repr=False)
    files: FilesPlace
    catalog: Catalog
    max_body_bytes: int
    max_upload_bytes: int
    max_upload_pixels: int
    upload_origins: tuple[str, ...]
    sweep_every: timedelta
    max_attempts: int


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def open_app(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[web.Application]:
    """The application with its flusher, sweeper and cleaner at work; all end on leaving."""
    jobs, queue, board = JobStore(database), JobQueue(redis), ProgressBoard(redis)
    authentication, resources = Authentication(AccountStore(database)), ResourceStore(database)
    links = Links(options.public_url, options.secret, now)
    forms = UploadForms(
        url=f"{options.public_url}{FORM_PATH}", secret=options.secret, now=now, max_bytes=options.max_upload_bytes
    )
    sweeper = Sweeper(jobs, queue, every=options.sweep_every, max_attempts=options.max_attempts, now=now)
    async with (
        open_files(options.files) as files,
        open_intake(jobs, queue, sweeper.fill_soon) as intake,
        open_picture_reader(options.max_upload_pixels) as reader,
        _running(sweeper.sweep_for_ever(), Cleaner(CleaningStore(database), files).clean_for_ever()),
    ):
        jobs_api = JobsApi(
            authentication=authentication,
            intake=intake,
            jobs=jobs,
            resources=resources,
            queue=queue,
            board=board,
            catalog=options.catalog,
            links=links,
            now=now,
        )
        resources_api = ResourcesApi(
            authentication=authentication,
            resources=resources,
            files=files,
            links=links,
            forms=forms,
            reader=reader,
            max_upload_bytes=options.max_upload_bytes,
        )
        pictures_api = PicturesApi(resources=resources, board=board, files=files, links=links)
        cors = Cors(options.upload_origins, METHODS)
        app = web.Application(middlewares=[answer_errors], client_max_size=options.max_body_bytes)
        app.add_routes([*jobs_api.routes(), *resources_api.routes(), *pictures_api.routes(), *cors.routes()])
        app.add_routes(Health(database, redis).routes())
        app.on_response_prepare.append(cors.tell)
        yield app


@asynccontextmanager
async def _running(*for_ever: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(each) for each in for_ever]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
