"""`darkroom queue`: how long the line is, who works on it, and how true what was told of starts has been."""

import argparse
import asyncio
import os
from contextlib import AbstractAsyncContextManager
from typing import Any

from arq.connections import ArqRedis
from redis.exceptions import RedisError

from cli.stack import address_of
from jobs.outlook import Outlook
from jobs.storage.job_queue import JobQueue
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import ALL, Pauses
from jobs.storage.redis_connection import open_redis


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
        outlook = await board.read()
        lines = _lines(await JobQueue(redis).length(), outlook)
        lines += [_pool_line(name, outlook) for name in sorted({*outlook.pools, *outlook.work_s})]
        lines += [f"takes jobs: {worker}, pool {pool}" for worker, pool in sorted((await board.alive()).items())]
        return lines + [f"paused: {_everyone(name)}" for name in sorted(await Pauses(redis).named())]


def _everyone(name: str) -> str:
    return "all workers" if name == ALL else name


def _pool_line(name: str, outlook: Outlook) -> str:
    work = f"{outlook.work_s.get(name, 0.0):.0f} s of work"
    if name not in outlook.pools:
        return f"pool {name}: {work}, no worker"
    pool = outlook.pools[name]
    return f"pool {name}: {work}, {pool.workers} alive, {pool.busy_workers} at work"


def _lines(length: int, outlook: Outlook) -> list[str]:
    calibration = outlook.calibration()
    lines = [
        f"waiting: {length} jobs, {sum(outlook.work_s.values()):.0f} s of work",
        f"workers: {outlook.workers} alive, {outlook.busy_workers} at work",
    ]
    if calibration.starts:
        shares = f"{calibration.before_p50:.0%} before their p50, {calibration.before_p90:.0%} before their p90"
        lines.append(f"forecasts: of {calibration.starts} starts, the last of each length of wait, {shares}")
    return lines


def knows_a_worker(redis_url: str) -> bool:
    """Whether one is there to draw."""
    try:
        return bool(asyncio.run(_alive(redis_url)))
    except (RedisError, OSError):
        return False


async def _alive(redis_url: str) -> dict[str, str]:
    async with opened_redis(redis_url) as redis:
        return await OutlookBoard(redis).alive()
