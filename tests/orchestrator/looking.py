"""A web process's foresight, which has not looked yet."""

from arq.connections import ArqRedis

from jobs.storage.job_queue import JobQueue
from jobs.storage.outlook_board import OutlookBoard
from orchestrator.foresight import Foresight


def foresight(redis: ArqRedis) -> Foresight:
    return Foresight(OutlookBoard(redis), JobQueue(redis))
