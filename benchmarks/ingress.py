"""POST and GET of jobs in one web process, against a bare aiohttp handler and one call after the other, in turns.

POST is durable in PostgreSQL and queued in Redis with its rank, with all validation and pricing; GET tells the rank.
"""

import itertools
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import uvloop
from redis import Redis

from benchmarks.client import free_port, job_body
from benchmarks.load import Load, load
from cli.stack import Stack, running_stack
from jobs.storage.job_queue import ENTRIES

CONNECTIONS = 48
SECONDS = 4.0
REPEATS = 5
OURS, BARE, NAIVE = "Darkroom", "bare aiohttp", "one call after the other"
FEW, MANY = 100, 100_000

Request = Callable[[], bytes]


def compare_ingress(folder: Path) -> str:
    with ExitStack() as exits:
        stack = exits.enter_context(running_stack(folder, port=0))
        # Only the web process is of interest: the worker would take its share of the cores.
        for process in stack.processes[1:]:
            process.kill()
        ports = {OURS: int(stack.url.rpartition(":")[2])}
        ports[BARE] = exits.enter_context(running("benchmarks.echo_server", os.environ))
        ports[NAIVE] = exits.enter_context(running("benchmarks.naive_server", stack.environment))
        post_one_each(ports[OURS], stack.api_key, FEW)
        gets = _in_turns(ports, _gets(stack.api_key))
        posts = _in_turns(ports, _posts(stack.api_key))
        for _ in range(max(0, MANY - _waiting(stack)) // 500 + 1):
            post_one_each(ports[OURS], stack.api_key, 500)
        crowded = _in_turns({name: ports[name] for name in (OURS, BARE)}, _gets(stack.api_key))
        tables = [_table("POST /v1/jobs", posts), _table("GET /v1/jobs/{id}", gets)]
        return "\n".join([*tables, _growth(gets, crowded, _waiting(stack))])


@contextmanager
def running(module: str, environment: Mapping[str, str]) -> Iterator[int]:
    """A server of the benchmarks as a process of its own; gives its port."""
    port = free_port()
    command = [sys.executable, "-m", module]
    with subprocess.Popen(command, env={**environment, "PORT": str(port)}, stderr=subprocess.DEVNULL) as server:
        try:
            _wait_for(port)
            yield port
        finally:
            server.terminate()


def _in_turns(ports: Mapping[str, int], request: Request) -> dict[str, list[Load]]:
    runs: dict[str, list[Load]] = {name: [] for name in ports}
    for turn in range(REPEATS + 1):
        for name, port in ports.items():
            run = _load(port, request)
            if turn:  # the first round warms all up
                runs[name].append(run)
    return runs


def _load(port: int, request: Request) -> Load:
    return uvloop.run(load(port, request, connections=CONNECTIONS, seconds=SECONDS))


def _posts(api_key: str) -> Request:
    """A request with a new requestId at each call; all else is made once."""
    template = job_body(steps=20)
    numbers = itertools.count()
    beginning = head("POST /v1/jobs", api_key) + "Content-Type: application/json\r\n"

    def request() -> bytes:
        body = orjson.dumps(template | {"requestId": f"{template['requestId']}-{next(numbers)}"})
        return f"{beginning}Content-Length: {len(body)}\r\n\r\n".encode() + body

    return request


def _gets(api_key: str) -> Request:
    """Of one of the first jobs, which all wait."""
    requests = [f"{head(f'GET /v1/jobs/{i}', api_key)}\r\n".encode() for i in range(1, FEW + 1)]
    return lambda: random.choice(requests)


def head(line: str, api_key: str) -> str:
    """Of a request, up to the empty line."""
    return f"{line} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api_key}\r\n"


def post_one_each(port: int, api_key: str, connections: int) -> None:
    uvloop.run(load(port, _posts(api_key), connections=connections, seconds=0))


def _waiting(stack: Stack) -> int:
    with Redis.from_url(stack.environment["REDIS_URL"]) as redis:
        return int(redis.hlen(ENTRIES))


def _table(title: str, runs: Mapping[str, list[Load]]) -> str:
    lines = [f"{title}, one process, {CONNECTIONS} connections, {REPEATS} × {SECONDS:g} s in turns"]
    lines += [_row(name, loads) for name, loads in runs.items()]
    ours, bare, naive = runs[OURS], runs[BARE], runs[NAIVE]
    rates = [a.per_second / b.per_second for a, b in zip(ours, bare, strict=True)]
    tails = [a.percentile(0.99) / b.percentile(0.99) for a, b in zip(ours, naive, strict=True)]
    lines += [_ratio("rate, of bare aiohttp's", rates), _ratio("p99, of one after the other's", tails)]
    return "\n".join(lines) + "\n"


def _growth(few: Mapping[str, list[Load]], many: Mapping[str, list[Load]], waiting: int) -> str:
    shares = [
        statistics.median(a.per_second / b.per_second for a, b in zip(runs[OURS], runs[BARE], strict=True))
        for runs in (few, many)
    ]
    title = f"GET with {waiting:,} jobs waiting against {FEW}"
    return f"{title}\n  {'time, by the bare one of its run':34} {shares[0] / shares[1]:.2f}\n"


def _row(name: str, runs: list[Load]) -> str:
    rate = statistics.median(run.per_second for run in runs)
    p50, p99 = (statistics.median(run.percentile(fraction) for run in runs) for fraction in (0.5, 0.99))
    return f"  {name:34} {rate:7.0f}/s   p50 {p50:5.1f} ms   p99 {p99:5.1f} ms"


def _ratio(name: str, ratios: list[float]) -> str:
    return f"  {name:34} {statistics.median(ratios):.2f}  [{min(ratios):.2f} … {max(ratios):.2f}]"


def _wait_for(port: int, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
