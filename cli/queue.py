"""`darkroom queue`: how long the line is, who works on it, and how true what was told of starts has been."""

import argparse
import asyncio
import os
from typing import Any

from cli.stack import StackFailed
from jobs.outlook import Outlook
from jobs.storage.job_queue import JobQueue
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.redis_connection import open_redis


def add_queue_command(commands: Any) -> None:
    command = commands.add_parser("queue", help="the line, the workers, and how true forecasts were, at REDIS_URL")
    command.set_defaults(run=show_queue)


def show_queue(_arguments: argparse.Namespace) -> None:
    url = os.environ.get("REDIS_URL")
    if not url:
        raise StackFailed("REDIS_URL is not set: it says which queue to look at")
    for line in asyncio.run(queue_lines(url)):
        print(line)


async def queue_lines(url: str) -> list[str]:
    async with open_redis(url, verify_tls=os.environ.get("DARKROOM_REDIS_TLS_VERIFY") != "false") as redis:
        length, work_s = await JobQueue(redis).length()
        return _lines(length, work_s, await OutlookBoard(redis).read())


def _lines(length: int, work_s: float, outlook: Outlook) -> list[str]:
    calibration = outlook.calibration()
    lines = [
        f"waiting: {length} jobs, {work_s:.0f} s of work",
        f"workers: {outlook.workers} alive, {outlook.busy_workers} at work",
    ]
    if calibration.starts:
        shares = f"{calibration.before_p50:.0%} before their p50, {calibration.before_p90:.0%} before their p90"
        lines.append(f"forecasts: of {calibration.starts} starts, the last of each length of wait, {shares}")
    return lines
