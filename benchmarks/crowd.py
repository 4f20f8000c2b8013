"""`python -m benchmarks.crowd`: GET of a waiting job with its rank, a million waiting against a thousand, in turns.

Two installations stand side by side. The jobs are copies of one that came through the API, and the web process
puts them into the queue as when Redis was emptied. Takes minutes: most of them to fill.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

import asyncpg
import uvloop
from redis import Redis

from benchmarks.ingress import head, post_one_each
from benchmarks.load import Load, load
from benchmarks.until import until
from cli.stack import Stack, running_stack
from jobs.storage.job_queue import ENTRIES, FILLED

CONNECTIONS = 48
SECONDS = 4.0
REPEATS = 7
FEW, MANY = 1_000, 1_000_000

COPY = """
INSERT INTO jobs (
    account_id, request_id, fingerprint, dialect, submission, credits, cost_s, work_kind, weight, priority)
SELECT account_id, 'copy-' || number, fingerprint, dialect, submission, credits, cost_s, work_kind, weight, priority
FROM (SELECT * FROM jobs ORDER BY id LIMIT 1) AS first, generate_series(1, $1::integer) AS number
"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--many", type=int, default=MANY)
    many = arguments.parse_args().many
    os.environ.setdefault("DARKROOM_LOG_FORMAT", "json")
    with ExitStack() as exits:
        stacks = [exits.enter_context(_crowded(number)) for number in (FEW, many)]
        # Jobs anywhere in the line, and those that stand at its front: what PostgreSQL need not read from far apart.
        asked = ((stacks[0], FEW), (stacks[1], many), (stacks[1], FEW))
        runs = [[_load(stack, first) for stack, first in asked] for _ in range(1 + REPEATS)]
        print(_report(runs[1:], many))  # the first round warms all up


@contextmanager
def _crowded(number: int) -> Iterator[Stack]:
    """An installation with so many waiting jobs and no worker."""
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-") as folder, running_stack(Path(folder), port=0) as stack:
        for process in stack.processes[1:]:
            process.kill()
        post_one_each(_port(stack), stack.api_key, 1)
        asyncio.run(_copy(stack, number))
        _fill(stack, number)
        yield stack


async def _copy(stack: Stack, number: int) -> None:
    connection = await asyncpg.connect(stack.environment["DATABASE_URL"])
    try:
        await connection.execute(COPY, number - 1, timeout=1200)
        await connection.execute("VACUUM ANALYZE jobs", timeout=600)
    finally:
        await connection.close()


def _fill(stack: Stack, number: int) -> None:
    """To a web process this looks like a Redis that was emptied."""
    with Redis.from_url(stack.environment["REDIS_URL"]) as redis:
        redis.delete(FILLED)
        until(lambda: cast(int, redis.hlen(ENTRIES)) == number)


def _load(stack: Stack, first: int) -> Load:
    """Of any of the first so many jobs."""

    def request() -> bytes:
        return f"{head(f'GET /v1/jobs/{random.randint(1, first)}', stack.api_key)}\r\n".encode()

    return uvloop.run(load(_port(stack), request, connections=CONNECTIONS, seconds=SECONDS))


def _port(stack: Stack) -> int:
    return int(stack.url.rpartition(":")[2])


def _report(runs: list[list[Load]], many: int) -> str:
    lines = [f"GET /v1/jobs/{{id}}, one process, {CONNECTIONS} connections, {REPEATS} × {SECONDS:g} s in turns"]
    for of, column in ((f"any of {many:,} jobs", 1), (f"one of the first {FEW:,} of {many:,}", 2)):
        pairs = [(run[0], run[column]) for run in runs]
        lines += [_row(f"{of}, {name}", share, pairs) for name, share in (("p50", 0.5), ("p99", 0.99))]
    return "\n".join([*lines, "  (goal for p99 <= 1.3)"])


def _row(name: str, share: float, runs: list[tuple[Load, Load]]) -> str:
    pairs = [(few.percentile(share), crowd.percentile(share)) for few, crowd in runs]
    ratios = sorted(crowd / few for few, crowd in pairs)
    few_ms, crowd_ms = (statistics.median(each) for each in zip(*pairs, strict=True))
    return (
        f"  {name} {crowd_ms:.1f} ms, where {FEW:,} wait {few_ms:.1f} ms: "
        f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )


if __name__ == "__main__":
    main()
