"""Process 1: HTTP in. `python -m orchestrator` serves until SIGTERM."""

import asyncio
import gc
import signal

import structlog
import uvloop
from aiohttp import web

from config.settings import Settings
from config.starting import WrongSettings, catalog_of, check_files, rates_of, started
from jobs.storage.arrival import stores_answer
from jobs.storage.database import open_database
from jobs.storage.redis_connection import open_redis
from orchestrator.app import WebOptions, open_app

FINISH_REQUESTS_WITHIN_S = 20

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    options = _options(settings)
    await stores_answer(settings.database_url, settings.redis_url, verify_tls=settings.redis_tls_verify)
    await check_files(settings)
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with (
        open_database(settings.database_url) as database,
        open_redis(settings.redis_url, verify_tls=settings.redis_tls_verify) as redis,
        open_app(options, database, redis) as app,
    ):
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=FINISH_REQUESTS_WITHIN_S)
        await runner.setup()
        await _listen(runner, settings)
        _collect_seldom()
        log.info("web_started", url=settings.url_for_clients())
        await stopped.wait()
        await runner.cleanup()
        log.info("web_stopped")


async def _listen(runner: web.AppRunner, settings: Settings) -> None:
    try:
        await web.TCPSite(runner, settings.host, settings.port, backlog=1024).start()
    except OSError as error:
        raise WrongSettings(f"DARKROOM_HOST and PORT: nothing can listen there: {error}") from error


def _options(settings: Settings) -> WebOptions:
    return WebOptions(
        public_url=settings.url_for_clients(),
        secret=settings.secret.get_secret_value().encode(),
        files=settings.files_place(),
        catalog=catalog_of(settings),
        rates=rates_of(settings),
        max_body_bytes=settings.max_body_bytes,
        max_upload_bytes=settings.max_upload_bytes,
        max_upload_pixels=settings.max_upload_pixels,
        signature_window=settings.signature_window,
        max_streams=settings.max_streams,
        max_streams_per_account=settings.max_streams_per_account,
        upload_origins=settings.upload_origins,
        sweep_every=settings.sweep_every,
        max_attempts=settings.max_attempts,
    )


def _collect_seldom() -> None:
    """What was imported stays: to look through all of it every 700 objects takes a twentieth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def main() -> None:
    with started("web") as settings:
        uvloop.run(serve(settings))


if __name__ == "__main__":
    main()
