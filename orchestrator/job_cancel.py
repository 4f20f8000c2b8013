"""DELETE /v1/jobs/{id}, or POST /v1/jobs/{id}/cancel: ends a job that waits or runs. It stops no worker itself.

Once this has answered, the job is CANCELED in PostgreSQL and stays so: a worker that draws it can store nothing.
"""

import asyncio

import structlog
from aiohttp import web
from redis.exceptions import RedisError

from jobs.account import Scope
from jobs.dialects.tams_response import canceled_body
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from orchestrator.authentication import Authentication
from orchestrator.job_path import JOB_PATH, job_id_of
from orchestrator.json_http import json_response

QUEUE_WITHIN_S = 1

log = structlog.get_logger()


class JobCanceler:
    def __init__(self, jobs: JobStore, queue: JobQueue) -> None:
        self._jobs = jobs
        self._queue = queue

    async def cancel(self, account_id: int, job_id: int) -> None:
        """Raises NotFound, and JobEnded."""
        attempt = await self._jobs.cancel(account_id, job_id)
        try:
            async with asyncio.timeout(QUEUE_WITHIN_S):
                await self._queue.cancel(job_id, attempt)
        except (RedisError, OSError) as error:
            # A worker cannot claim what is canceled, and who draws it learns so when it renews its lease.
            log.warning("cancel_not_told", job_id=job_id, error=repr(error))


class JobCancelApi:
    def __init__(self, *, authentication: Authentication, canceler: JobCanceler) -> None:
        self._authentication = authentication
        self._canceler = canceler

    def routes(self) -> list[web.RouteDef]:
        return [web.delete(JOB_PATH, self.cancel), web.post(f"{JOB_PATH}/cancel", self.cancel)]

    async def cancel(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_WRITE)
        job_id = job_id_of(request)
        await self._canceler.cancel(account.id, job_id)
        return json_response(canceled_body(job_id))
