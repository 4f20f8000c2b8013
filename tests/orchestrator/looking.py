"""What a web process looks and mends with, alone. None has looked yet."""

from datetime import timedelta

from arq.connections import ArqRedis

from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.outlook_board import OutlookBoard
from orchestrator.filler import Filler
from orchestrator.foresight import Foresight
from orchestrator.sweeper import Sweeper
from tests.jobs.samples import Clock

EVERY = timedelta(seconds=1)


def foresight(redis: ArqRedis) -> Foresight:
    return Foresight(OutlookBoard(redis), JobQueue(redis))


def filler(database: Database, redis: ArqRedis, clock: Clock | None = None, jobs: JobStore | None = None) -> Filler:
    return Filler(jobs or JobStore(database), JobQueue(redis), foresight(redis), every=EVERY, now=clock or Clock())


def sweeper(database: Database, redis: ArqRedis, max_attempts: int = 2) -> Sweeper:
    return Sweeper(
        JobStore(database),
        JobQueue(redis),
        filler(database, redis),
        foresight(redis),
        every=EVERY,
        max_attempts=max_attempts,
    )
