"""Process 2: pixels. `python -m gpu_worker` runs jobs one by one until SIGTERM."""

import asyncio
import os
import secrets
import signal
import socket

import structlog
import uvloop

from config.settings import Settings
from config.starting import catalog_of, check_files, started
from gpu_worker.ability import DRAWS, ability_of, served
from gpu_worker.arq_worker import WakingWorker
from gpu_worker.drawn_by import drawn_by
from gpu_worker.heart.client import open_heart
from gpu_worker.runner import Runner, RunnerOptions
from gpu_worker.stores import stores_on
from jobs.ability import Ability
from jobs.catalog import Catalog
from jobs.storage.arrival import stores_answer
from jobs.storage.background import beside
from jobs.storage.cancels import open_cancels
from jobs.storage.database import open_database
from jobs.storage.files import open_files
from jobs.storage.redis_connection import open_redis

FINISH_JOB_WITHIN_S = 15
HAND_BACK_WITHIN_S = 5
ABANDON_WITHIN_S = 3
# A program that cannot go on, and may be started again.
BROKEN = 70

log = structlog.get_logger()


async def work(settings: Settings) -> int:
    """The exit status."""
    catalog = catalog_of(settings)
    await stores_answer(settings.database_url, settings.redis_url, verify_tls=settings.redis_tls_verify)
    await check_files(settings)
    # torch takes seconds to import: what is set wrong is told before.
    from gpu_worker.engine.device import best_device
    from gpu_worker.engine.engine import DiffusersEngine

    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    async with (
        open_database(settings.database_url, connections=4) as database,
        open_redis(settings.redis_url, verify_tls=settings.redis_tls_verify) as redis,
        open_files(settings.files_place()) as files,
        open_heart() as heart,
        open_cancels(redis) as cancels,
    ):
        device = best_device()
        ability = ability_of(catalog, device, families=settings.families, stages=settings.stages)
        _warn_of_little(ability, catalog)
        options = _options(settings, catalog, ability)
        runner = Runner(
            options,
            engine=DiffusersEngine(catalog, device, max_cached_bytes=settings.model_cache_bytes),
            keeper=heart,
            stores=stores_on(database, redis, files, cancels),
        )
        stop, broken = (asyncio.create_task(_any(*each)) for each in ([stopped], [runner.is_hung, heart.has_stopped]))
        warming = asyncio.create_task(runner.warm_up(catalog.default.id))
        await asyncio.wait([warming, stop, broken], return_when=asyncio.FIRST_COMPLETED)
        if not stop.done():
            async with beside(runner.presence.tell_for_ever()):
                await _work_until([stop, broken], WakingWorker(runner, redis, options.pool), runner)
            await runner.presence.leave()
        log.info("worker_stopped", is_broken=broken.done())
        return BROKEN if broken.done() else 0


def _warn_of_little(ability: Ability, catalog: Catalog) -> None:
    """Settings and files that leave it nothing to do are a mistake, which only its jobs would tell."""
    stages = served(ability, catalog)
    if not stages:
        log.warning("worker_has_nothing_to_run", stages=sorted(ability.stages), because=_reasons(ability))
    elif DRAWS in ability.stages - stages:
        log.warning("worker_has_nothing_to_draw_with", runs=sorted(stages), because=_reasons(ability))


def _reasons(ability: Ability) -> list[str]:
    return sorted({*filter(None, ability.models.values())})


async def _any(*events: asyncio.Event) -> None:
    await asyncio.wait([asyncio.create_task(each.wait()) for each in events], return_when=asyncio.FIRST_COMPLETED)


async def _work_until(stop: list[asyncio.Task[None]], worker: WakingWorker, runner: Runner) -> None:
    working = asyncio.create_task(_until_settled(worker, runner))
    log.info("worker_started")
    await asyncio.wait([working, *stop], return_when=asyncio.FIRST_COMPLETED)
    worker.stop_picking()
    if not (await asyncio.wait([working], timeout=FINISH_JOB_WITHIN_S))[0]:
        runner.hand_back()
    if (await asyncio.wait([working], timeout=HAND_BACK_WITHIN_S))[0]:
        working.result()
        return
    try:
        async with asyncio.timeout(ABANDON_WITHIN_S):
            await runner.abandon()
    except TimeoutError:
        log.error("job_not_handed_back")  # its lease lapses, and another worker takes it


async def _until_settled(worker: WakingWorker, runner: Runner) -> None:
    await worker.main()
    await runner.settled()


def _options(settings: Settings, catalog: Catalog, ability: Ability) -> RunnerOptions:
    return RunnerOptions(
        # In containers the next worker often has this one's host name and process id: it is not to be paused like it.
        worker=f"{socket.gethostname()}-{secrets.token_hex(2)}:{os.getpid()}",
        pool=settings.pool or ability.digest,
        ability=ability,
        lease=settings.lease,
        retry_delay=settings.retry_delay,
        max_attempts=settings.max_attempts,
        attempt_within=settings.attempt_within,
        hung_after=settings.hung_after,
        drawn_by=drawn_by(catalog),
        stage_outputs_kept=settings.stage_outputs_kept,
        outputs_kept=settings.outputs_kept(),
    )


def main() -> None:
    with started("worker") as settings:
        status = uvloop.run(work(settings))
    # A thread that computes cannot be interrupted, and Python would wait for it.
    os._exit(status)


if __name__ == "__main__":
    main()
