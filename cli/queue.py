"""`darkroom queue`: how long the line is, who works on it, and how true what was told of starts has been."""

import argparse
import asyncio
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from cli.stack import address_of
from jobs.ability import Ability, shared
from jobs.outlook import Outlook
from jobs.storage.job_queue import JobQueue
from jobs.storage.outlook_board import Member, OutlookBoard
from jobs.storage.pauses import ALL, Pauses, of_pool
from jobs.storage.redis_connection import open_redis
from jobs.words import count

# Of a catalogue of hundreds nobody reads all.
MOST_REASONS = 10


def add_queue_command(commands: Any) -> None:
    command = commands.add_parser("queue", help="the line, the workers, and how true forecasts were, at REDIS_URL")
    command.set_defaults(run=show_queue)


def show_queue(_arguments: argparse.Namespace) -> None:
    for line in asyncio.run(queue_lines()):
        print(line)


def opened_redis(url: str | None = None) -> AbstractAsyncContextManager[ArqRedis]:
    verify_tls = os.environ.get("DARKROOM_REDIS_TLS_VERIFY") != "false"
    return open_redis(url or address_of("REDIS_URL"), verify_tls=verify_tls)


async def queue_lines(url: str | None = None) -> list[str]:
    async with opened_redis(url) as redis:
        board = OutlookBoard(redis)
        outlook, named = await board.read(), await Pauses(redis).named()
        workers = {
            name: member._replace(is_paused=not named.isdisjoint({ALL, name, of_pool(member.pool)}))
            for name, member in sorted((await board.alive()).items())
        }
        alive = {ALL, *workers, *(of_pool(member.pool) for member in workers.values())}
        pools = sorted({*outlook.work_s, *(member.pool for member in workers.values())})
        return [
            *_lines(await JobQueue(redis).length(), outlook, workers.values()),
            *(
                line
                for pool in pools
                for line in _pool_lines(pool, outlook, [each for each in workers.values() if each.pool == pool])
            ),
            *(f"{_state(member)}: {name}, pool {member.pool}" for name, member in workers.items()),
            *(f"pause of {said(name)}: {undone_by(name)} undoes it" for name in sorted(named & alive)),
            *(
                f"pause of {name}, of whom nobody is alive: {undone_by(name)} undoes it"
                for name in sorted(named - alive)
            ),
        ]


def said(name: str) -> str:
    return "all workers" if name == ALL else name


def undone_by(name: str) -> str:
    return "`darkroom resume`" if name == ALL else f"`darkroom resume {name}`"


def _state(member: Member) -> str:
    if member.is_paused:
        return "paused, ends its job" if member.is_at_work else "paused"
    return "takes jobs"


def _pool_lines(pool: str, outlook: Outlook, workers: Collection[Member]) -> Iterator[str]:
    work = f"{outlook.work_s.get(pool, 0.0):.0f} s of work"
    yield f"pool {pool}: {work}, {_counted(workers) if workers else 'no worker'}"
    if pool in outlook.pools:
        yield from (f"  {line}" for line in _ability_lines(shared(outlook.pools[pool].abilities)))


def _ability_lines(ability: Ability) -> Iterator[str]:
    """What all workers of a pool can run, and why not the rest."""
    reasons = [*filter(None, ability.models.values())]
    yield f"runs {', '.join(sorted(ability.stages)) or 'nothing'}"
    drawn_with = len(ability.models) - len(reasons)
    yield f"draws with {drawn_with} of {count(len(ability.models), 'model')}{'; not with others:' if reasons else ''}"
    yield from (f"  {reason}" for reason in reasons[:MOST_REASONS])
    if len(reasons) > MOST_REASONS:
        yield f"  and {len(reasons) - MOST_REASONS} more"


def _counted(workers: Collection[Member]) -> str:
    at_work, paused = (sum(each) for each in ([m.is_at_work for m in workers], [m.is_paused for m in workers]))
    return f"{len(workers)} alive, {at_work} at work{f', {paused} paused' if paused else ''}"


def _lines(length: int, outlook: Outlook, workers: Collection[Member]) -> list[str]:
    calibration = outlook.calibration()
    lines = [
        f"waiting: {count(length, 'job')}, {sum(outlook.work_s.values()):.0f} s of work",
        f"workers: {_counted(workers)}",
    ]
    if calibration.starts:
        shares = f"{calibration.before_p50:.0%} before their p50, {calibration.before_p90:.0%} before their p90"
        starts = count(calibration.starts, "start")
        lines.append(f"forecasts: of {starts}, the last of each length of wait, {shares}")
    return lines


def knows_a_worker(redis_url: str) -> bool:
    """Whether one is there to draw."""
    try:
        return bool(asyncio.run(_alive(redis_url)))
    except (RedisError, OSError):
        return False


async def _alive(redis_url: str) -> dict[str, Member]:
    async with opened_redis(redis_url) as redis:
        return await OutlookBoard(redis).alive()
