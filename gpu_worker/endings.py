"""How an attempt ends that made no pictures: failed, tried again, or given back. `Outcomes` stores the others.

Each gives the outcome in a word, LOST where another attempt took over: then nothing was written.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import structlog
from redis.exceptions import RedisError

from gpu_worker.patience import patiently
from jobs.errors import AttemptLost, HandedBack, OutOfReach
from jobs.job import Failure, FailureCode, Job
from jobs.need import need_of
from jobs.pool import NOBODY
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, Waiting
from jobs.words import count

log = structlog.get_logger()


class Endings:
    """`retry_delay` doubles with each attempt. `pool` is that of the worker."""

    def __init__(
        self, jobs: JobStore, queue: JobQueue, *, pool: str, max_attempts: int, retry_delay: timedelta
    ) -> None:
        self._jobs = jobs
        self._queue = queue
        self._pool = pool
        self._max_attempts = max_attempts
        self._retry_delay = retry_delay

    async def fail(self, job: Job, code: FailureCode, reason: str) -> str:
        failure = Failure(code=code, reason=reason)
        return await _unless_lost("FAILED", partial(self._jobs.fail, job.id, job.attempt, failure))

    async def try_again(self, job: Job, reason: str) -> str:
        if job.tries >= self._max_attempts:
            return await self.fail(job, FailureCode.TRANSITORY_ERROR, f"{reason} (after {count(job.tries, 'attempt')})")
        delay = self._retry_delay * 2 ** (job.tries - 1)
        requeue = partial(self._jobs.requeue, job.id, job.attempt, delay=delay, reason=reason)
        return await _unless_lost("REQUEUED", requeue)

    async def give_back(self, job: Job, reason: HandedBack) -> str:
        need = str(need_of(job.submission.stages))
        hand_back = partial(self._jobs.hand_back, job.id, job.attempt, reason=reason.message, need=need)
        outcome = await _unless_lost("REQUEUED", hand_back)
        if outcome == "REQUEUED":
            await self._tell_queue(job, need, NOBODY if isinstance(reason, OutOfReach) else self._pool)
        return outcome

    async def _tell_queue(self, job: Job, need: str, pool: str) -> None:
        try:
            await self._queue.add([Waiting(job.id, job.attempt + 1, job.cost_s, None, need, pool)])
        except (RedisError, OSError) as error:
            log.warning("queue_not_told", job_id=job.id, error=repr(error))  # the sweeper tells it


async def _unless_lost(outcome: str, end: Callable[[], Awaitable[None]]) -> str:
    try:
        await patiently(end)
    except AttemptLost:
        return "LOST"
    return outcome
