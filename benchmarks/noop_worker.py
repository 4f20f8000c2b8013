"""A worker whose engine draws nothing: what is left is the queue. Used by `benchmarks.queue_throughput`."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import uvloop

from config.logs import configure_logs
from gpu_worker.arq_worker import WakingWorker
from gpu_worker.heart.client import open_heart
from gpu_worker.presence import Presence
from gpu_worker.runner import Runner, RunnerOptions
from gpu_worker.stage_outputs import StageOutputs
from jobs.storage.database import open_database
from jobs.storage.files import open_files
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import Pauses
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.redis_connection import open_redis
from jobs.storage.resource_store import ResourceStore
from jobs.storage.stage_store import StageStore

HOUR = timedelta(hours=1)
OPTIONS = RunnerOptions(
    worker="bench",
    lease=timedelta(seconds=5),
    retry_delay=HOUR,
    max_attempts=1,
    attempt_within=HOUR,
    hung_after=HOUR,
)


class NoEngine:
    """Answers whatever a DIFFUSION stage asks for with nothing."""

    def __getattr__(self, verb: str) -> Any:
        return lambda *_given, **_wish: ()


async def main() -> None:
    async with (
        open_database(os.environ["DATABASE_URL"], connections=4) as database,
        open_redis(os.environ["REDIS_URL"]) as redis,
        open_files(Path(os.environ["DARKROOM_FILES_FOLDER"])) as files,
        open_heart() as heart,
    ):
        outlook = OutlookBoard(redis)
        presence = Presence(outlook, OPTIONS.worker)
        telling = asyncio.create_task(presence.tell_for_ever())
        runner = Runner(
            OPTIONS,
            engine=NoEngine(),
            keeper=heart,
            jobs=JobStore(database),
            resources=ResourceStore(database),
            queue=JobQueue(redis),
            board=ProgressBoard(redis),
            files=files,
            presence=presence,
            outlook=outlook,
            pauses=Pauses(redis),
            stage_outputs=StageOutputs(StageStore(database), files, drawn_by="nobody", kept=HOUR),
        )
        await WakingWorker(runner, redis).main()
        telling.cancel()


if __name__ == "__main__":
    configure_logs("worker", level="warning", format="json")
    uvloop.run(main())
