"""Callbacks in one webhooks process: how many a second, against a bare aiohttp client that does the same POSTs, and how
long one takes to a receiver that answers, with 100 beside it that refuse or never answer."""

import asyncio
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import aiohttp
import asyncpg
import uvloop

from benchmarks.ingress import running
from cli.process import Process
from cli.stack import Stack, running_stack
from jobs.dialects.callbacks import callback_body
from jobs.job import JobView
from jobs.links import Links
from jobs.prompt import Piece
from jobs.stages.diffusion import Diffusion
from jobs.stages.input_initialize import InputInitialize
from jobs.storage.account_store import AccountStore
from jobs.storage.database import open_database
from jobs.storage.job_store import JobStore, NewJob
from jobs.submission import Submission

NUMBER = 6000
REPEATS = 3
DESTINATIONS = 4
AT_ONCE = 64
DEAD = 100
PENDING_FOR_EACH = 10
EVERY_S = 0.01
TIMED = 500
# Alone and crowded in such turns that a machine which gets slower meanwhile does so for both.
TURNS = (0, DEAD, DEAD, 0)
PAIRS = 6
# What a crowd that comes all at once takes to be called for the first time is not what it costs to have it.
SETTLE_S = 2.0
NOBODY = 1
DONE_WITHIN_S = 120
END = "UPDATE jobs SET status = 'SUCCESS', attempt = 1, finished_at = now() WHERE id = ANY($1::bigint[])"
PICTURES = """
    INSERT INTO resources (id, account_id, job_id, position, key, format, width, height, stored_at)
    SELECT gen_random_uuid(), account_id, id, 0, 'x', 'png', 512, 512, now() FROM jobs WHERE id = ANY($1::bigint[])
"""
ADD = """
    INSERT INTO deliveries (job_id, url, kind)
    SELECT job_id, url, 'TERMINAL' FROM unnest($1::bigint[], $2::text[]) AS told (job_id, url)
"""
PENDING = "SELECT count(*) FROM deliveries WHERE state = 'PENDING' AND url LIKE $1"
TOOK = """
    SELECT count(*) / extract(epoch FROM max(started_at + seconds * interval '1 second') - min(started_at))
    FROM delivery_attempts JOIN deliveries ON deliveries.id = delivery_id WHERE url LIKE $1
"""
LAG_MS = """
    SELECT 1000 * extract(epoch FROM started_at + seconds * interval '1 second' - created_at) AS lag
    FROM delivery_attempts JOIN deliveries ON deliveries.id = delivery_id WHERE url LIKE $1 ORDER BY lag
"""


class Lags(NamedTuple):
    p50: float
    p99: float


def compare_deliveries(folder: Path) -> str:
    with running_stack(folder, port=0) as stack:
        for process in stack.processes:
            process.kill()
        with running("benchmarks.sink_server", os.environ) as port:
            ours, bare = [], []
            for turn in range(REPEATS + 1):
                rates = _rate(stack, folder, port), uvloop.run(_bare_rate(stack, port))
                if turn:  # the first one warms all up
                    ours.append(rates[0])
                    bare.append(rates[1])
            pairs = [_pair(stack, folder, port) for _ in range(PAIRS)]
    return _table(ours, bare, *zip(*pairs, strict=True))


@contextmanager
def _dispatching(stack: Stack, folder: Path) -> Iterator[None]:
    process = Process("webhooks", stack.environment, folder)
    try:
        yield
    finally:
        process.kill()


def _rate(stack: Stack, folder: Path, port: int) -> float:
    """Callbacks of jobs that had ended while no process sent any."""

    async def measure() -> float:
        connection = await asyncpg.connect(stack.environment["DATABASE_URL"])
        run, jobs = uuid4().hex, await _ended_jobs(stack, NUMBER)
        urls = [f"{_url(1 + number % DESTINATIONS, port)}?{run}" for number in range(NUMBER)]
        await connection.execute(ADD, jobs, urls)
        with _dispatching(stack, folder):
            await _all_sent(connection, f"%{run}")
        rate = float(await connection.fetchval(TOOK, f"%{run}"))
        await connection.close()
        return rate

    return asyncio.run(measure())


async def _bare_rate(stack: Stack, port: int) -> float:
    (job_id,) = await _ended_jobs(stack, 1)
    async with open_database(stack.environment["DATABASE_URL"]) as database:
        (job,) = await JobStore(database).told([job_id])
    body = callback_body(JobView(job=job), Links("http://127.0.0.1", b"secret of the benchmark", _now))
    numbers = iter(range(NUMBER))

    async def post(session: aiohttp.ClientSession) -> None:
        for number in numbers:
            async with session.post(_url(1 + number % DESTINATIONS, port), data=body) as response:
                await response.read()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=AT_ONCE)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(post(session) for _ in range(AT_ONCE)))
        return NUMBER / (time.perf_counter() - began)


def _pair(stack: Stack, folder: Path, port: int) -> list[Lags]:
    """Alone, and crowded."""
    lags: dict[int, list[float]] = {0: [], DEAD: []}
    for dead in TURNS:
        lags[dead] += _lags(stack, folder, port, dead=dead)
    return [_percentiles(each) for each in lags.values()]


def _lags(stack: Stack, folder: Path, port: int, *, dead: int) -> list[float]:
    """Milliseconds from the commit of a callback to its answer, one after the other at a steady pace."""

    async def measure() -> list[float]:
        connection = await asyncpg.connect(stack.environment["DATABASE_URL"])
        run, jobs = uuid4().hex, await _ended_jobs(stack, TIMED + dead * PENDING_FOR_EACH)
        # Every second one refuses, the others are silent.
        hosts = [number % dead for number in range(dead * PENDING_FOR_EACH)]
        silent = [f"http://127.0.2.{1 + host}:{port if host % 2 else NOBODY}/{run}" for host in hosts]
        with _dispatching(stack, folder):
            await connection.execute(ADD, jobs[:1], [f"{_url(1, port)}?first-{run}"])
            await _all_sent(connection, f"%first-{run}")
            await connection.execute(ADD, jobs[TIMED:], silent)
            await asyncio.sleep(SETTLE_S)
            for job in jobs[:TIMED]:
                await connection.execute(ADD, [job], [f"{_url(1, port)}?timed-{run}"])
                await asyncio.sleep(EVERY_S)
            await _all_sent(connection, f"%timed-{run}")
        lags = [float(row["lag"]) for row in await connection.fetch(LAG_MS, f"%timed-{run}")]
        await connection.execute("UPDATE deliveries SET state = 'DEAD' WHERE state = 'PENDING'")
        await connection.close()
        return lags

    return asyncio.run(measure())


async def _all_sent(connection: asyncpg.Connection, urls: str) -> None:
    deadline = time.monotonic() + DONE_WITHIN_S
    while await connection.fetchval(PENDING, urls):
        if time.monotonic() > deadline:
            raise RuntimeError(f"callbacks were not sent within {DONE_WITHIN_S} s")
        await asyncio.sleep(0.2)


async def _ended_jobs(stack: Stack, number: int) -> list[int]:
    """Each with one picture, as most callbacks tell of."""
    async with open_database(stack.environment["DATABASE_URL"]) as database:
        account = await AccountStore(database).ensure("bench")
        created, *_ = await JobStore(database).accept([_new_job(account.id) for _ in range(number)])
        ids = list(created.values())
        async with database.transaction() as connection:
            await connection.execute(END, ids)
            await connection.execute(PICTURES, ids)
    return ids


def _new_job(account_id: int) -> NewJob:
    diffusion = Diffusion(width=512, height=512, prompt=(Piece("x"),), model="1", sampler="Euler")
    return NewJob(
        account_id=account_id,
        fingerprint=b"x",
        dialect="tams",
        submission=Submission(request_id=uuid4().hex, stages=(InputInitialize(seed=1), diffusion)),
        credits=Decimal("0.8"),
        cost_s=1.0,
        created_at=_now(),
    )


def _url(host: int, port: int) -> str:
    return f"http://127.0.1.{host}:{port}/callback"


def _now() -> datetime:
    return datetime.now(UTC)


def _table(ours: Sequence[float], bare: Sequence[float], alone: Sequence[Lags], crowded: Sequence[Lags]) -> str:
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    delays = [with_them.p99 / without.p99 for without, with_them in zip(alone, crowded, strict=True)]
    return "\n".join(
        [
            f"callbacks, one process, {DESTINATIONS} destinations, {REPEATS} × {NUMBER} in turns",
            f"  claimed, signed, sent, recorded    {statistics.median(ours):7.0f}/s",
            f"  bare aiohttp client                {statistics.median(bare):7.0f}/s",
            f"  ratio                              {_with_spread(ratios)}",
            _lag_line("alone", alone),
            _lag_line(f"with {DEAD} that are dead or silent", crowded),
            f"  p99, of its time alone             {_with_spread(delays)}",
            "",
        ]
    )


def _lag_line(name: str, runs: Sequence[Lags]) -> str:
    p50, p99 = (statistics.median(each) for each in zip(*runs, strict=True))
    return f"  {name:34} p50 {p50:5.1f} ms   p99 {p99:5.1f} ms"


def _with_spread(ratios: Sequence[float]) -> str:
    return f"{statistics.median(ratios):.2f}  [{min(ratios):.2f} … {max(ratios):.2f}]"


def _percentiles(lags: Sequence[float]) -> Lags:
    ordered = sorted(lags)
    return Lags(ordered[len(ordered) // 2], ordered[int(0.99 * len(ordered))])
