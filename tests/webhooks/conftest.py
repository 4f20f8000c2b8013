"""An account's jobs, who hears of them, and a dispatcher that is not yet running."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from arq.connections import ArqRedis

from jobs.account import Account
from jobs.job import Job, Progress
from jobs.links import Links
from jobs.prompt import Piece
from jobs.stages.diffusion import Diffusion
from jobs.stages.input_initialize import InputInitialize
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.delivery_store import DeliveryStore
from jobs.storage.job_store import JobStore, NewJob
from jobs.storage.progress_board import ProgressBoard
from jobs.submission import Submission
from tests import one_job
from tests.webhooks.receiver import Receiver, open_receiver
from webhooks.delivery import Courier, Deadlines
from webhooks.dispatcher import Dispatcher
from webhooks.guard import networks
from webhooks.lanes import Lanes
from webhooks.posting import open_poster

LEASE = timedelta(minutes=1)
DEADLINES = Deadlines()


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with open_receiver() as receiver:
        yield receiver


@dataclass
class Office:
    """What callbacks are made from and sent by."""

    database: Database
    jobs: JobStore
    board: ProgressBoard
    links: Links
    account: Account

    async def running_job(self, *, notify_url: str | None = None, running_notify_url: str | None = None) -> Job:
        diffusion = Diffusion(width=512, height=512, prompt=(Piece("x"),), model="1", sampler="Euler")
        submission = Submission(
            request_id=uuid4().hex,
            stages=(InputInitialize(seed=1), diffusion),
            notify_url=notify_url,
            running_notify_url=running_notify_url,
        )
        new_job = NewJob(
            account_id=self.account.id,
            fingerprint=b"x",
            dialect="tams",
            submission=submission,
            credits=Decimal("0.8"),
            cost_s=1.0,
            created_at=now(),
        )
        created, *_ = await self.jobs.accept([new_job])
        job = await one_job.claim(self.jobs, created[new_job.key], 1, worker="test:1", lease=LEASE)
        assert job is not None
        return job

    async def step(self, job: Job, step: int) -> None:
        """The engine has done so many of 10."""
        progress = Progress(attempt=job.attempt, fraction=step / 10, stage=1, step=step, steps=10)
        await self.board.publish(job.id, progress)

    async def ended_job(self, notify_url: str) -> Job:
        job = await self.running_job(notify_url=notify_url)
        await one_job.succeed(self.jobs, job, [])
        return await one_job.get(self.jobs, job.id)

    async def tell(self, job: Job, urls: Sequence[str]) -> None:
        """Callbacks for the end of this job to all of these addresses."""
        await self.execute(
            "INSERT INTO deliveries (job_id, url, kind) SELECT $1, unnest($2::text[]), 'TERMINAL'", job.id, urls
        )

    async def states(self, job: Job) -> list[str]:
        """Of the job's deliveries, in the order they were made."""
        query = "SELECT state FROM deliveries WHERE job_id = $1 ORDER BY created_at"
        async with self.database.connection() as connection:
            return [row["state"] for row in await connection.fetch(query, job.id)]

    async def has_states(self, job: Job, states: list[str]) -> None:
        async with asyncio.timeout(15):
            while await self.states(job) != states:
                await asyncio.sleep(0.01)

    async def let_pass(self, time: timedelta) -> None:
        """Moves the clock: all that is to come comes so much sooner."""
        await self.execute("UPDATE deliveries SET next_try_at = next_try_at - $1::interval", time)
        await self.execute("UPDATE destinations SET closed_until = closed_until - $1::interval", time)

    async def delivery(self, job: Job) -> dict[str, Any]:
        """The job's one callback, with `wait`: the time to its next try."""
        query = "SELECT *, next_try_at - now() AS wait FROM deliveries WHERE job_id = $1"
        async with self.database.connection() as connection:
            (row,) = await connection.fetch(query, job.id)
        return dict(row)

    async def attempts(self, job: Job) -> list[dict[str, Any]]:
        query = """
            SELECT delivery_attempts.* FROM delivery_attempts JOIN deliveries ON deliveries.id = delivery_id
            WHERE job_id = $1 ORDER BY delivery_attempts.id
        """
        async with self.database.connection() as connection:
            return [dict(row) for row in await connection.fetch(query, job.id)]

    async def has_attempts(self, job: Job, count: int) -> None:
        async with asyncio.timeout(15):
            while len(await self.attempts(job)) < count:
                await asyncio.sleep(0.01)

    async def execute(self, statement: str, *arguments: Any) -> None:
        async with self.database.connection() as connection:
            await connection.execute(statement, *arguments)

    @asynccontextmanager
    async def dispatching(
        self,
        *,
        delays_s: tuple[float, ...] = (0.01, 0.01),
        allow: tuple[str, ...] = ("127.0.0.0/8",),
        concurrency: int = 8,
        per_destination: int = 4,
        deadlines: Deadlines = DEADLINES,
    ) -> AsyncIterator[Dispatcher]:
        async with open_poster(networks(allow), connections=concurrency, connect_s=deadlines.connect_s) as poster:
            courier = Courier(poster, self.jobs, self.board, self.links, now=now, deadlines=deadlines)
            lanes = Lanes(concurrency=concurrency, per_destination=per_destination)
            dispatcher = Dispatcher(
                DeliveryStore(self.database),
                courier,
                lanes,
                delays_s=delays_s,
                progress_every=timedelta(seconds=0.05),
            )
            dispatching = asyncio.create_task(dispatcher.dispatch())
            yield dispatcher
            dispatcher.stop()
            await asyncio.wait_for(dispatching, 10)


@pytest.fixture
async def office(database: Database, redis: ArqRedis) -> Office:
    account = await AccountStore(database).ensure("tester")
    links = Links("http://public.example", b"secret of tests", now)
    return Office(database, JobStore(database), ProgressBoard(redis), links, account)
