"""POST /v1/jobs, durable in PostgreSQL and queued in Redis with its rank, against a bare aiohttp echo, in turns."""

import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import orjson
import uvloop

from benchmarks.client import free_port, job_body
from benchmarks.load import Load, load
from cli.stack import running_stack

CONNECTIONS = 48
SECONDS = 4.0
REPEATS = 5


def compare_with_echo(folder: Path) -> str:
    # Only the web process is of interest: the worker would take its share of the cores.
    with running_stack(folder, port=0) as stack:
        for process in stack.processes[1:]:
            process.kill()
        echo_port = free_port()
        with subprocess.Popen([sys.executable, "-m", "benchmarks.echo_server", str(echo_port)]) as echo:
            try:
                _wait_for(echo_port)
                ours, bare = _in_turns(int(stack.url.rpartition(":")[2]), stack.api_key, echo_port)
            finally:
                echo.terminate()
    return _table(ours, bare)


def _in_turns(port: int, api_key: str, echo_port: int) -> tuple[list[Load], list[Load]]:
    ours, bare = [], []
    for turn in range(REPEATS + 1):
        mine, theirs = _load(port, _requests(api_key)), _load(echo_port, _requests(api_key))
        if turn:  # the first pair warms both up
            ours.append(mine)
            bare.append(theirs)
    return ours, bare


def _load(port: int, request: Callable[[], bytes]) -> Load:
    return uvloop.run(load(port, request, connections=CONNECTIONS, seconds=SECONDS))


def _requests(api_key: str) -> Callable[[], bytes]:
    """A request with a new requestId at each call; all else is made once."""
    template = job_body(steps=20)
    prefix = template["requestId"]
    numbers = count()
    head = f"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api_key}\r\nContent-Type: application/json\r\n"

    def request() -> bytes:
        body = orjson.dumps(template | {"requestId": f"{prefix}-{next(numbers)}"})
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    return request


def _table(ours: list[Load], bare: list[Load]) -> str:
    ratios = [a.per_second / b.per_second for a, b in zip(ours, bare, strict=True)]
    lines = [f"POST /v1/jobs, one process, {CONNECTIONS} connections, {REPEATS} × {SECONDS:.0f} s in turns"]
    lines += [_row("Darkroom, durable and queued", ours), _row("bare aiohttp echo", bare)]
    median, low, high = statistics.median(ratios), min(ratios), max(ratios)
    lines.append(f"  ratio, median of pairs        {median:.3f}  [{low:.2f} … {high:.2f}]")
    return "\n".join(lines) + "\n"


def _row(name: str, runs: list[Load]) -> str:
    rate = statistics.median(run.per_second for run in runs)
    p50, p99 = (statistics.median(run.percentile(fraction) for run in runs) for fraction in (0.5, 0.99))
    return f"  {name:29} {rate:7.0f}/s   p50 {p50:5.1f} ms   p99 {p99:5.1f} ms"


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
