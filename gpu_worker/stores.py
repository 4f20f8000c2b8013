"""All that a worker reads and writes."""

from dataclasses import dataclass

from arq.connections import ArqRedis

from jobs.storage.cancels import Cancels
from jobs.storage.database import Database
from jobs.storage.files import Files
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.resource_store import ResourceStore
from jobs.storage.stage_store import StageStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    jobs: JobStore
    resources: ResourceStore
    stages: StageStore
    files: Files
    queue: JobQueue
    cancels: Cancels
    board: ProgressBoard
    outlook: OutlookBoard


def stores_on(database: Database, redis: ArqRedis, files: Files, cancels: Cancels) -> Stores:
    return Stores(
        jobs=JobStore(database),
        resources=ResourceStore(database),
        stages=StageStore(database),
        files=files,
        queue=JobQueue(redis),
        cancels=cancels,
        board=ProgressBoard(redis),
        outlook=OutlookBoard(redis),
    )
