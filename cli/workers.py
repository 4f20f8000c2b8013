"""`darkroom pause`, `resume` and `drain`: which workers take new jobs. `darkroom queue` tells their names."""

import argparse
import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from arq.connections import ArqRedis

from cli.queue import opened_redis, said, undone_by
from cli.stack import StackFailed, address_of
from jobs.names import hint
from jobs.storage.database import Database, open_database
from jobs.storage.job_store import JobStore
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import ALL, Pauses, of_pool

LOOK_EVERY_S = 0.5
NAMES = f"a worker as `darkroom queue` names it, pool:NAME, or '{ALL}' for all"


def add_workers_commands(commands: Any) -> None:
    command = commands.add_parser("pause", help="let a worker, a pool (pool:NAME) or all take no new job")
    command.add_argument("worker", nargs="?", default=ALL, help=f"{NAMES}; all without it")
    command.set_defaults(run=_runs(pause))
    command = commands.add_parser("resume", help="let a worker, a pool (pool:NAME) or all take jobs again")
    command.add_argument("worker", nargs="?", default=ALL, help=f"{NAMES}; all without it")
    command.set_defaults(run=_runs(resume))
    command = commands.add_parser("drain", help="pause a worker, a pool or all, and return when they are idle")
    command.add_argument("worker", help=NAMES)
    command.add_argument(
        "--within",
        type=float,
        default=3600,
        metavar="SECONDS",
        help="give up waiting after so long, and leave it paused; 3600",
    )
    command.set_defaults(run=lambda arguments: print(asyncio.run(_drain(arguments))))


async def pause(redis: ArqRedis, arguments: argparse.Namespace) -> str:
    await _check(redis, arguments.worker)
    await Pauses(redis).pause(arguments.worker)
    return f"{_told(arguments.worker)} no new job; {undone_by(arguments.worker)} undoes it"


async def resume(redis: ArqRedis, arguments: argparse.Namespace) -> str:
    """What it says is of the workers that are alive: one may be paused by its own name, its pool's, and with all."""
    worker, pauses = arguments.worker, Pauses(redis)
    await _check(redis, worker)
    if not await pauses.resume(worker):
        return f"{'nothing had' if worker == ALL else f'{worker} had not'} been paused{await _still(redis, worker)}"
    if still := await _still(redis, worker):
        return f"the pause of {said(worker)} is over{still}"
    return f"{_told(worker)} jobs again"


async def _still(redis: ArqRedis, worker: str) -> str:
    """Who of those that this name stands for stays paused by another one, and how that is undone."""
    named = await Pauses(redis).named()
    known = await OutlookBoard(redis).known()
    members = {name for name, member in known.items() if worker in (ALL, name, of_pool(member.pool))}
    over = {ALL, *(of_pool(known[name].pool) for name in members if name == worker)} & named
    held = sorted(over) or sorted(members & named)
    if not held:
        return ""
    are = "is" if len(held) == 1 and ALL not in held else "are"
    return f", but {_all(map(said, held))} {are} still paused ({_all(map(undone_by, held))})"


def _all(names: Iterable[str]) -> str:
    return " and ".join(names)


async def drain(redis: ArqRedis, database: Database, arguments: argparse.Namespace) -> str:
    """What a worker tells of itself is not enough: it may be silent because it is stuck, and it tells nothing of the
    pictures that it still stores. Nor is what PostgreSQL knows: it may be about to claim."""
    worker = arguments.worker
    await pause(redis, arguments)
    known = await OutlookBoard(redis).known()
    workers = [name for name, its in known.items() if worker in (ALL, name, of_pool(its.pool))] or [worker]
    deadline = time.monotonic() + arguments.within
    while await _are_present(redis, workers) or await _are_at_work(database, [None] if worker == ALL else workers):
        if not await Pauses(redis).hold(worker):
            raise StackFailed(f"{_told(worker)} jobs again: somebody resumed it, or Redis was emptied")
        if time.monotonic() > deadline:
            raise StackFailed(f"{_named(worker)} still at work after {arguments.within:g} s, and paused")
        await asyncio.sleep(LOOK_EVERY_S)
    they, take = ("they", "take") if worker == ALL else ("it", "takes")
    idle = f"{_named(worker)} idle, and {take} no new job"
    return f"{idle}: now {they} can be stopped; {undone_by(worker)} undoes it"


async def _are_present(redis: ArqRedis, workers: Sequence[str]) -> bool:
    """Those that have not told yet that they are paused, or draw their last jobs."""
    alive = await OutlookBoard(redis).alive()
    return any(alive[worker].is_at_work or not alive[worker].is_paused for worker in workers if worker in alive)


async def _are_at_work(database: Database, workers: Iterable[str | None]) -> bool:
    jobs = JobStore(database)
    return any([await jobs.running_at(worker) for worker in workers])


async def _check(redis: ArqRedis, worker: str) -> None:
    alive = await OutlookBoard(redis).alive()
    pools = {of_pool(member.pool) for member in alive.values()}
    if worker not in {ALL, *alive, *pools, *await Pauses(redis).named()}:
        near = hint(worker, [*sorted(alive), *sorted(pools)]) if alive else "none is alive"
        raise StackFailed(f"no worker or pool is named {worker!r}; {near}")


def _told(worker: str) -> str:
    return "all workers take" if worker == ALL else f"{worker} takes"


def _named(worker: str) -> str:
    return "all workers are" if worker == ALL else f"{worker} is"


def _runs(act: Any) -> Any:
    async def with_redis(arguments: argparse.Namespace) -> str:
        async with opened_redis() as redis:
            told: str = await act(redis, arguments)
            return told

    return lambda arguments: print(asyncio.run(with_redis(arguments)))


async def _drain(arguments: argparse.Namespace) -> str:
    async with opened_redis() as redis, open_database(address_of("DATABASE_URL"), connections=1) as database:
        return await drain(redis, database, arguments)
