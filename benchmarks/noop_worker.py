"""A worker whose engine draws nothing: what is left is the queue. Used by `benchmarks.queue_throughput`."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvloop

from config.catalog import read_catalog
from config.logs import configure_logs
from config.settings import ModelSettings
from gpu_worker.ability import ability_of
from gpu_worker.arq_worker import WakingWorker
from gpu_worker.engine.device import CPU
from gpu_worker.heart.client import open_heart
from gpu_worker.runner import Runner, RunnerOptions
from gpu_worker.stores import stores_on
from jobs.storage.background import beside
from jobs.storage.cancels import open_cancels
from jobs.storage.database import open_database
from jobs.storage.files import open_files
from jobs.storage.redis_connection import open_redis

HOUR = timedelta(hours=1)
POOL = "bench"
SETTINGS = ModelSettings()
CATALOG = read_catalog(SETTINGS.catalog_file, SETTINGS.models_folder)
ABILITY = ability_of(CATALOG, CPU)
OPTIONS = RunnerOptions(
    worker="bench",
    pool=POOL,
    ability=ABILITY,
    lease=timedelta(seconds=5),
    retry_delay=HOUR,
    max_attempts=1,
    attempt_within=HOUR,
    hung_after=HOUR,
    drawn_by="nobody",
)


class NoEngine:
    """Answers whatever a DIFFUSION stage asks for with nothing. It has every model loaded."""

    def __init__(self) -> None:
        self._loading_s = {model.id: 0.0 for model in CATALOG.models}

    def loading_s(self) -> dict[str, float]:
        return self._loading_s

    def __getattr__(self, verb: str) -> Any:
        return lambda *_given, **_wish: ()


async def main() -> None:
    async with (
        open_database(os.environ["DATABASE_URL"], connections=4) as database,
        open_redis(os.environ["REDIS_URL"]) as redis,
        open_files(Path(os.environ["DARKROOM_FILES_FOLDER"])) as files,
        open_heart() as heart,
        open_cancels(redis) as cancels,
    ):
        stores = stores_on(database, redis, files, cancels)
        runner = Runner(OPTIONS, engine=NoEngine(), keeper=heart, stores=stores)
        async with beside(runner.presence.tell_for_ever()):
            await WakingWorker(runner, redis, POOL).main()


if __name__ == "__main__":
    configure_logs("worker", level="warning", format="json")
    uvloop.run(main())
