"""A runner on real stores, with a scripted engine."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis

from gpu_worker.heart.keeper import StoreKeeper
from gpu_worker.runner import Runner, RunnerOptions
from gpu_worker.stores import Stores
from jobs.events import NOTHING_YET
from jobs.job import Job
from jobs.prompt import Piece
from jobs.stages import Stage
from jobs.stages.diffusion import Diffusion
from jobs.stages.input_initialize import InputInitialize
from jobs.storage.account_store import AccountStore
from jobs.storage.cancels import Cancels, open_cancels
from jobs.storage.database import Database
from jobs.storage.event_store import EventStore
from jobs.storage.job_queue import Attempt, JobQueue
from jobs.storage.job_store import JobStore, NewJob, Waiting
from jobs.storage.local_files import LocalFiles
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.resource_store import ResourceStore
from jobs.storage.stage_store import StageStore
from jobs.submission import Submission
from jobs.turn import Turn
from tests import one_job
from tests.gpu_worker.scripted_engine import ScriptedEngine
from tests.pools import MEMBER, POOL
from tests.until import only_this_task

LEASE = timedelta(seconds=0.6)
MAX_ATTEMPTS = 2
STEPS = 4


class Settling(Runner):
    """A run is over when its outcome is stored, and not only when the engine is free."""

    async def run(self, *attempts: Attempt) -> None:
        await super().run(*attempts)
        await self.settled()


@dataclass
class Bench:
    """One worker's surroundings, and what a test needs to look at them."""

    database: Database
    jobs: JobStore
    queue: JobQueue
    cancels: Cancels
    board: ProgressBoard
    outlook: OutlookBoard
    files: LocalFiles
    folder: Path
    account_id: int
    lease: timedelta = LEASE
    attempt_within: timedelta = timedelta(minutes=1)
    hung_after: timedelta = timedelta(minutes=1)
    outputs_kept: timedelta | None = None
    drawn_by: str = "the models of today"

    def runner(self, engine: ScriptedEngine, kind: type[Runner] = Settling) -> Runner:
        options = RunnerOptions(
            worker="test:1",
            **MEMBER,
            lease=self.lease,
            retry_delay=timedelta(minutes=1),
            max_attempts=MAX_ATTEMPTS,
            attempt_within=self.attempt_within,
            hung_after=self.hung_after,
            outputs_kept=self.outputs_kept,
            drawn_by=self.drawn_by,
        )
        stores = Stores(
            jobs=self.jobs,
            resources=ResourceStore(self.database),
            stages=StageStore(self.database),
            files=self.files,
            queue=self.queue,
            cancels=self.cancels,
            board=self.board,
            outlook=self.outlook,
        )
        return kind(options, engine=engine, keeper=StoreKeeper(self.jobs, self.lease), stores=stores)

    async def accept(
        self, *more: Stage, image: str | None = None, count: int = 1, seed: int = 5, **bounds: float
    ) -> int:
        stages: tuple[Stage, ...] = (
            InputInitialize(seed=seed, count=count, image_resource_id=image),
            Diffusion(width=512, height=576, prompt=(Piece("x"),), model="101", sampler="Euler", steps=STEPS),
            *more,
        )
        now = datetime.now(UTC)
        submission = Submission(request_id=uuid4().hex, stages=stages, notify_url="http://127.0.0.1:9/", **bounds)
        new_job = NewJob(
            account_id=self.account_id,
            fingerprint=b"x",
            dialect="tams",
            submission=submission,
            credits=Decimal("0.8"),
            cost_s=1.0,
            kind="scripted",
            created_at=now,
        )
        created, *_ = await self.jobs.accept([new_job])
        (job_id,) = created.values()
        await self.queue.add([Waiting(job_id, 1, 1.0, Turn(self.account_id, 1.0), pool=POOL)])
        return job_id

    async def job(self, job_id: int) -> Job:
        return await one_job.get(self.jobs, job_id)

    async def events(self, job_id: int) -> list[str]:
        events = await EventStore(self.database).after({job_id: NOTHING_YET})
        return [event.kind.value for event in events[job_id]]

    async def last_event(self, job_id: int) -> tuple[str, str | None]:
        query = "SELECT kind, detail FROM job_events WHERE job_id = $1 ORDER BY id DESC LIMIT 1"
        async with self.database.connection() as connection:
            return tuple(await connection.fetchrow(query, job_id))

    async def callbacks(self, job_id: int) -> list[str]:
        return await self._column("SELECT kind FROM deliveries WHERE job_id = $1", job_id)

    async def execute(self, statement: str, *arguments: Any) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *arguments)

    async def _column(self, query: str, job_id: int) -> list[str]:
        async with self.database.connection() as connection:
            return [row[0] for row in await connection.fetch(query, job_id)]


@pytest.fixture
async def bench(database: Database, redis: ArqRedis, tmp_path: Path) -> AsyncIterator[Bench]:
    account = await AccountStore(database).ensure("tester")
    async with open_cancels(redis) as cancels:
        yield Bench(
            database=database,
            jobs=JobStore(database),
            queue=JobQueue(redis),
            cancels=cancels,
            board=ProgressBoard(redis),
            outlook=OutlookBoard(redis),
            files=LocalFiles(tmp_path),
            folder=tmp_path,
            account_id=account.id,
        )


@pytest.fixture(autouse=True)
async def no_task_left_behind() -> AsyncIterator[None]:
    yield
    await only_this_task()
