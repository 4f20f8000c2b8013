"""Process 3: HTTP out. `python -m webhooks` delivers callbacks until SIGTERM."""

import asyncio
import gc
import signal
from datetime import UTC, datetime

import structlog
import uvloop
from arq.connections import ArqRedis

from config.settings import Settings
from config.starting import started
from jobs.links import Links
from jobs.storage.arrival import stores_answer
from jobs.storage.database import Database, open_database
from jobs.storage.delivery_store import DeliveryStore
from jobs.storage.job_store import JobStore
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.redis_connection import open_redis
from webhooks.delivery import Courier, Deadlines
from webhooks.dispatcher import Dispatcher
from webhooks.guard import networks
from webhooks.lanes import Lanes
from webhooks.listener import listening
from webhooks.posting import Poster, open_poster

DEADLINES = Deadlines()
# Most of what is made for a callback goes with it; to look for cycles among all the others so often took a quarter of
# the process's time.
LOOKS_FOR_CYCLES_AFTER = (100_000, 50, 100)

log = structlog.get_logger()


def now() -> datetime:
    return datetime.now(UTC)


async def deliver(settings: Settings) -> None:
    await stores_answer(settings.database_url, settings.redis_url, verify_tls=settings.redis_tls_verify)
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with (
        open_database(settings.database_url) as database,
        open_redis(settings.redis_url, verify_tls=settings.redis_tls_verify) as redis,
        open_poster(
            networks(settings.egress_allow),
            connections=settings.delivery_concurrency,
            connect_s=DEADLINES.connect_s,
        ) as poster,
    ):
        dispatcher = _dispatcher(settings, database, redis, poster)
        async with listening(settings.database_url, dispatcher.wake):
            dispatching = asyncio.create_task(dispatcher.dispatch())
            log.info("webhooks_started")
            stop = asyncio.create_task(stopped.wait())
            await asyncio.wait([dispatching, stop], return_when=asyncio.FIRST_COMPLETED)
            dispatcher.stop()
            await dispatching
        log.info("webhooks_stopped")


def _dispatcher(settings: Settings, database: Database, redis: ArqRedis, poster: Poster) -> Dispatcher:
    courier = Courier(
        poster,
        JobStore(database),
        ProgressBoard(redis),
        Links(settings.url_for_clients(), settings.secret.get_secret_value().encode(), now),
        now=now,
        deadlines=DEADLINES,
    )
    return Dispatcher(
        DeliveryStore(database),
        courier,
        Lanes(concurrency=settings.delivery_concurrency, per_destination=settings.delivery_concurrency_per_destination),
        delays_s=settings.delivery_delays_s,
        progress_every=settings.progress_callbacks_every,
    )


def main() -> None:
    with started("webhooks") as settings:
        gc.freeze()  # what was imported stays
        gc.set_threshold(*LOOKS_FOR_CYCLES_AFTER)
        uvloop.run(deliver(settings))


if __name__ == "__main__":
    main()
