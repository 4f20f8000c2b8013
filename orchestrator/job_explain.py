"""GET /v1/jobs/{id}/explain: why a job waits, and until when. The words are `jobs.explanation`'s."""

import asyncio

import structlog
from aiohttp import web
from redis.exceptions import RedisError

from jobs.account import Scope
from jobs.dialects.tams_response import explanation_body
from jobs.explanation import Circumstances
from jobs.job import JobView, QueuePlace
from jobs.pool import Pool
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore
from jobs.storage.pauses import ALL, Pauses, of_pool
from orchestrator.authentication import Authentication
from orchestrator.foresight import Foresight
from orchestrator.job_path import JOB_PATH, job_id_of
from orchestrator.job_reader import JobReader
from orchestrator.json_http import json_response

WITHIN_S = 1
# Of a longer line it is not told how many are the account's own.
MOST_COUNTED = 1000

log = structlog.get_logger()


class JobExplainApi:
    def __init__(
        self,
        *,
        authentication: Authentication,
        reader: JobReader,
        jobs: JobStore,
        queue: JobQueue,
        foresight: Foresight,
        pauses: Pauses,
    ) -> None:
        self._authentication = authentication
        self._reader = reader
        self._jobs = jobs
        self._queue = queue
        self._foresight = foresight
        self._pauses = pauses

    def routes(self) -> list[web.RouteDef]:
        return [web.get(f"{JOB_PATH}/explain", self.show)]

    async def show(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        view = await self._reader.view(account.id, job_id_of(request))
        hold, pools = await self._jobs.hold(view.job.id), self._foresight.outlook.pools
        pool = (pools.get(view.place.pool) if view.place else None) or Pool()
        around = Circumstances(
            own_before=await self._own_before(account.id, view.place),
            held_s=hold.held_s,
            is_parked=hold.is_parked,
            paused=await self._paused(view, pool),
            workers=pool.workers + pool.paused,
            busy_workers=pool.busy_workers,
            paused_workers=pool.paused,
        )
        return json_response(explanation_body(view, around))

    async def _own_before(self, account_id: int, place: QueuePlace | None) -> int | None:
        """Those that came back are nobody's in the line."""
        before = place.rank - 1 if place else 0
        if place is None or before > MOST_COUNTED:
            return None
        try:
            async with asyncio.timeout(WITHIN_S):
                page = await self._queue.page(place.pool, 0, before) if before else []
        except (RedisError, OSError) as error:
            log.warning("line_not_read", error=repr(error))
            return None
        return sum(job.turn is not None and job.turn.account_id == account_id for job in page)

    async def _paused(self, view: JobView, pool: Pool) -> str:
        """Whom the operator has paused, where nobody is left who could run it."""
        try:
            async with asyncio.timeout(WITHIN_S):
                named = await self._pauses.named()
        except (RedisError, OSError) as error:
            log.warning("pauses_not_known", error=repr(error))
            return ""
        if ALL in named:
            return "all workers"
        if view.place and of_pool(view.place.pool) in named:
            return f"the workers of its pool, {view.place.pool}"
        return "the workers that could run it" if view.missing == () and not pool.workers else ""
