"""`python -m gpu_worker.heart`, started by a worker and by nobody else: renews the leases that it is told to keep.

Lines of JSON come in: {"keep": [job, attempt]}, {"drop": [job, attempt]}, and {} for "I am here". Out goes
{"lost": [job, attempt]}. It ends with the worker, and lets the leases lapse that the worker still had; a worker that
says nothing for long is hung and is ended, so that whoever looks after it starts another.
"""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import structlog

from config.logs import configure_logs
from config.settings import Settings
from gpu_worker.awake import awake_timeout
from gpu_worker.heart.keeper import LeaseKeeper, StoreKeeper
from jobs.errors import AttemptLost
from jobs.storage.database import open_database
from jobs.storage.job_store import JobStore

# Where it cannot be written they lapse by themselves.
LET_LAPSE_WITHIN_S = 2

log = structlog.get_logger()


async def beat(settings: Settings) -> None:
    """Until the worker has ended."""
    worker_id = os.getppid()
    lines, kept = await _lines_in(), dict[tuple[int, int], asyncio.Task[None]]()
    async with open_database(settings.database_url, connections=2) as database:
        keeper = StoreKeeper(JobStore(database), settings.lease)
        while (message := await _next(lines, settings.hung_after, worker_id)) is not None:
            match message:
                case {"keep": [int(job_id), int(attempt)]}:
                    kept[job_id, attempt] = asyncio.create_task(_keep(keeper, job_id, attempt))
                case {"drop": [int(job_id), int(attempt)]}:
                    kept.pop((job_id, attempt)).cancel()
        await _let_lapse(keeper, kept)


async def _let_lapse(keeper: StoreKeeper, kept: Mapping[tuple[int, int], asyncio.Task[None]]) -> None:
    """What a worker still had when it ended: its jobs need not wait for the end of their leases."""
    if not kept:
        return
    for keeping in kept.values():
        keeping.cancel()
    await asyncio.wait(kept.values(), timeout=LET_LAPSE_WITHIN_S)
    async with asyncio.timeout(LET_LAPSE_WITHIN_S):
        for job_id, attempt in kept:
            await keeper.let_lapse(job_id, attempt)
    log.warning("worker_died", jobs=[job_id for job_id, _ in kept])


async def _lines_in() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _next(lines: asyncio.StreamReader, hung_after: timedelta, worker_id: int) -> dict[str, Any] | None:
    """None when the worker has ended, or is ended here."""
    try:
        # With a machine that sleeps, worker and heart both do: then the worker has not been silent.
        async with awake_timeout(hung_after.total_seconds()):
            line = await lines.readline()
    except TimeoutError:
        log.error("worker_hung", silent_s=hung_after.total_seconds())
        _end(worker_id)
        return None
    message: dict[str, Any] | None = json.loads(line) if line else None
    return message


def _end(worker_id: int) -> None:
    """Not where the worker ended just now: whoever adopted this process is not to be killed in its place."""
    if os.getppid() == worker_id:
        os.kill(worker_id, signal.SIGKILL)


async def _keep(keeper: LeaseKeeper, job_id: int, attempt: int) -> None:
    try:
        await keeper.keep(job_id, attempt)
    except AttemptLost:
        print(json.dumps({"lost": [job_id, attempt]}), flush=True)


def main() -> None:
    settings = Settings()
    configure_logs("heart", level=settings.log_level, format=settings.log_format)
    # Whoever stops the worker may signal its whole group; until it has handed back, the worker needs its lease.
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    asyncio.run(beat(settings))


if __name__ == "__main__":
    main()
