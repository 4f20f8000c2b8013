"""`darkroom pause`, `resume` and `drain`: which workers take new jobs. `darkroom queue` tells their names."""

import argparse
import asyncio
import time
from typing import Any

from arq.connections import ArqRedis

from cli.queue import opened_redis
from cli.stack import StackFailed
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import ALL, Pauses

LOOK_EVERY_S = 0.5


def add_workers_commands(commands: Any) -> None:
    command = commands.add_parser("pause", help="let a worker, or all, take no new job")
    command.add_argument("worker", nargs="?", default=ALL)
    command.set_defaults(run=_runs(pause))
    command = commands.add_parser("resume", help="let a worker, or all, take jobs again")
    command.add_argument("worker", nargs="?", default=ALL)
    command.set_defaults(run=_runs(resume))
    command = commands.add_parser("drain", help="pause a worker, and return when it has nothing to do")
    command.add_argument("worker")
    command.add_argument("--within", type=float, default=3600, metavar="SECONDS")
    command.set_defaults(run=_runs(drain))


async def pause(redis: ArqRedis, arguments: argparse.Namespace) -> str:
    await _check(redis, arguments.worker)
    await Pauses(redis).pause(arguments.worker)
    return f"{_told(arguments.worker)} no new job; `darkroom resume` undoes it"


async def resume(redis: ArqRedis, arguments: argparse.Namespace) -> str:
    await Pauses(redis).resume(arguments.worker)
    return f"{_told(arguments.worker)} jobs again"


async def drain(redis: ArqRedis, arguments: argparse.Namespace) -> str:
    """A worker that is paused is not told of any more when its last job has ended."""
    await pause(redis, arguments)
    deadline = time.monotonic() + arguments.within
    while arguments.worker in await OutlookBoard(redis).alive():
        if time.monotonic() > deadline:
            raise StackFailed(f"{arguments.worker} is still at work after {arguments.within:g} s; it stays paused")
        await asyncio.sleep(LOOK_EVERY_S)
    return f"{arguments.worker} has nothing to do, and takes no new job: it can be stopped"


async def _check(redis: ArqRedis, worker: str) -> None:
    alive = await OutlookBoard(redis).alive()
    if worker != ALL and worker not in alive and worker not in await Pauses(redis).named():
        raise StackFailed(f"no worker is named {worker!r}; alive are {', '.join(sorted(alive)) or 'none'}")


def _told(worker: str) -> str:
    return "all workers take" if worker == ALL else f"{worker} takes"


def _runs(act: Any) -> Any:
    async def with_redis(arguments: argparse.Namespace) -> str:
        async with opened_redis() as redis:
            told: str = await act(redis, arguments)
            return told

    return lambda arguments: print(asyncio.run(with_redis(arguments)))
