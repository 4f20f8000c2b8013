"""The web process put together: what is opened, in which order, and which routes it serves."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from aiohttp import web
from arq.connections import ArqRedis
from redis.asyncio import Redis

from jobs.catalog import Catalog
from jobs.credits import Rates
from jobs.links import Links
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.background import beside
from jobs.storage.cleaning_store import CleaningStore
from jobs.storage.database import Database
from jobs.storage.delivery_log import DeliveryLog
from jobs.storage.event_store import EventStore
from jobs.storage.files import Files, FilesPlace, open_files
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.nonces import Nonces
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import Pauses
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.rate_buckets import RateBuckets
from jobs.storage.redis_connection import open_direct
from jobs.storage.resource_store import ResourceStore
from jobs.upload_form import UploadForms
from orchestrator.authentication import Authentication
from orchestrator.cleaner import Cleaner
from orchestrator.cors import Cors
from orchestrator.credits_api import CreditsApi
from orchestrator.deliveries_api import DeliveriesApi
from orchestrator.detect_api import DetectApi
from orchestrator.detect_jobs import DetectJobs
from orchestrator.drafting import Drafting
from orchestrator.entering import Entering
from orchestrator.error_edge import answering_errors
from orchestrator.filler import Filler
from orchestrator.foresight import Foresight
from orchestrator.health import Health
from orchestrator.intake import Intake, open_intake
from orchestrator.job_cancel import JobCancelApi, JobCanceler
from orchestrator.job_events import JobEventsApi
from orchestrator.job_explain import JobExplainApi
from orchestrator.job_feed import JobFeed
from orchestrator.job_list import JobListApi
from orchestrator.job_reader import JobReader, open_job_reader
from orchestrator.job_views import JobViews
from orchestrator.jobs_api import JobsApi
from orchestrator.last_used import open_last_used
from orchestrator.models_api import ModelsApi
from orchestrator.not_yet import NotYetApi
from orchestrator.open_streams import OpenStreams
from orchestrator.picture_reader import PictureReader, open_picture_reader
from orchestrator.pictures_api import PicturesApi
from orchestrator.rate_limit import RateLimiter, tell_allowance
from orchestrator.reference_api import ReferenceApi
from orchestrator.resources_api import FORM_PATH, METHODS, ResourcesApi
from orchestrator.running_times import RunningTimes
from orchestrator.sweeper import Sweeper
from orchestrator.telling import Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    public_url: str
    secret: bytes = field(repr=False)
    files: FilesPlace
    catalog: Catalog
    rates: Rates = field(default_factory=Rates)
    max_body_bytes: int
    max_upload_bytes: int
    max_upload_pixels: int
    upload_origins: tuple[str, ...]
    signature_window: timedelta
    max_streams: int
    max_streams_per_account: int
    sweep_every: timedelta
    max_attempts: int


def now() -> datetime:
    return datetime.now(UTC)


class Parts:
    """What several endpoints share. It opens nothing."""

    def __init__(self, options: WebOptions, database: Database, redis: ArqRedis) -> None:
        self.options = options
        self.jobs = JobStore(database)
        self.queue = JobQueue(redis)
        self.board = ProgressBoard(redis)
        self.resources = ResourceStore(database)
        self.events = EventStore(database)
        self.links = Links(options.public_url, options.secret, now)
        self.pauses = Pauses(redis)
        self.foresight = Foresight(OutlookBoard(redis), self.queue)
        self.drafting = Drafting(
            catalog=options.catalog,
            rates=options.rates,
            foresight=self.foresight,
            resources=self.resources,
            max_body_bytes=options.max_body_bytes,
            now=now,
        )
        self.canceler = JobCanceler(self.jobs, self.queue)
        self.views = JobViews(self.jobs, self.queue, self.board, self.foresight, RunningTimes(self.events))
        self.feed = JobFeed(self.jobs, self.events, self.views)
        self.filler = Filler(self.jobs, self.queue, self.foresight, every=options.sweep_every, now=now)
        self.telling = Telling(self.views, self.foresight, self.links)
        self.sweeper = Sweeper(
            self.jobs,
            self.queue,
            self.filler,
            self.foresight,
            every=options.sweep_every,
            max_attempts=options.max_attempts,
        )

    def entering(self, direct: Redis) -> Entering:
        return Entering(self.jobs, JobQueue(direct), self.foresight, self.filler.fill_soon)


@asynccontextmanager
async def open_app(options: WebOptions, database: Database, redis: ArqRedis) -> AsyncIterator[web.Application]:
    """The application with its flusher, filler, sweeper, cleaner and feed at work; all end on leaving."""
    parts = Parts(options, database, redis)
    await parts.foresight.look()  # what comes first is told of the workers too
    cors = Cors(options.upload_origins, METHODS)
    app = web.Application(
        middlewares=[answering_errors(tell_allowance, cors.tell)],
        client_max_size=options.max_body_bytes,
        # A signature is of the bytes as they came; and aiohttp's own refusals are not in the API's words.
        handler_args={"auto_decompress": False},
    )
    async with (
        open_files(options.files) as files,
        open_direct(redis) as direct,
        open_intake(parts.drafting, parts.entering(direct), parts.telling) as intake,
        open_job_reader(parts.jobs, parts.views) as job_reader,
        open_picture_reader(options.max_upload_pixels) as reader,
        # Of its own: who looks at many pictures shall not keep others from uploading theirs.
        open_picture_reader(options.max_upload_pixels) as looker,
        _open_authentication(options, database, redis) as authentication,
        beside(
            parts.filler.fill_for_ever(),
            parts.sweeper.sweep_for_ever(),
            parts.feed.poll_for_ever(),
            parts.foresight.look_for_ever(),
            Cleaner(CleaningStore(database), files).clean_for_ever(),
        ),
    ):
        app.add_routes(_job_routes(parts, authentication, intake, job_reader))
        app.add_routes(_picture_routes(parts, authentication, files, reader))
        app.add_routes(_detect_routes(parts, authentication, files, looker, intake))
        app.add_routes(DeliveriesApi(authentication=authentication, deliveries=DeliveryLog(database)).routes())
        app.add_routes(ModelsApi(authentication=authentication, catalog=options.catalog).routes())
        app.add_routes([*NotYetApi(authentication).routes(), *cors.routes()])
        app.add_routes([*Health(database, redis).routes(), *ReferenceApi(options.public_url).routes()])
        app.on_shutdown.append(parts.feed.close)
        yield app


def _job_routes(
    parts: Parts, authentication: Authentication, intake: Intake, reader: JobReader
) -> Iterator[web.RouteDef]:
    options, jobs, links, views = parts.options, parts.jobs, parts.links, parts.views
    yield from JobsApi(
        authentication=authentication,
        intake=intake,
        reader=reader,
        telling=parts.telling,
        jobs=jobs,
        links=links,
    ).routes()
    yield from CreditsApi(
        authentication=authentication, resources=parts.resources, catalog=options.catalog, rates=options.rates
    ).routes()
    yield from JobListApi(authentication=authentication, jobs=jobs, views=views, links=links).routes()
    yield from JobCancelApi(authentication=authentication, canceler=parts.canceler).routes()
    yield from JobExplainApi(
        authentication=authentication,
        reader=reader,
        jobs=jobs,
        queue=parts.queue,
        foresight=parts.foresight,
        pauses=parts.pauses,
    ).routes()
    yield from JobEventsApi(
        authentication=authentication,
        jobs=jobs,
        events=parts.events,
        feed=parts.feed,
        links=links,
        open_streams=OpenStreams(options.max_streams, options.max_streams_per_account),
    ).routes()


def _detect_routes(
    parts: Parts, authentication: Authentication, files: Files, looker: PictureReader, intake: Intake
) -> list[web.RouteDef]:
    jobs = DetectJobs(intake=intake, feed=parts.feed, foresight=parts.foresight, canceler=parts.canceler)
    return DetectApi(
        authentication=authentication,
        resources=parts.resources,
        files=files,
        reader=looker,
        jobs=jobs,
        catalog=parts.options.catalog,
        links=parts.links,
    ).routes()


def _picture_routes(
    parts: Parts, authentication: Authentication, files: Files, reader: PictureReader
) -> Iterator[web.RouteDef]:
    options = parts.options
    forms = UploadForms(
        url=f"{options.public_url}{FORM_PATH}", secret=options.secret, now=now, max_bytes=options.max_upload_bytes
    )
    yield from ResourcesApi(
        authentication=authentication,
        resources=parts.resources,
        files=files,
        links=parts.links,
        forms=forms,
        reader=reader,
        max_upload_bytes=options.max_upload_bytes,
    ).routes()
    yield from PicturesApi(resources=parts.resources, board=parts.board, files=files, links=parts.links).routes()


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
