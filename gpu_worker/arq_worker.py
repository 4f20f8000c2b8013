"""arq's worker, woken by an event instead of a poll. It runs nothing itself: `runner` does."""

import asyncio
from collections.abc import Awaitable
from typing import Any, cast

import structlog
from arq import Worker, func
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from gpu_worker.runner import Runner
from jobs.storage.background import beside
from jobs.storage.job_queue import FUNCTION, QUEUE, WAKE

# Only the time between arq's pick and our claim counts here: after the claim the id is out of the queue.
PICK_TIMEOUT_S = 5
BLOCK_S = 5
POLL_S = 0.5
AFTER_REDIS_ERROR_S = 0.5

log = structlog.get_logger()


class WakingWorker(Worker):
    """Looks for jobs when it is told of one, when one of its own ends, and twice a second in any case."""

    def __init__(self, runner: Runner, redis: ArqRedis) -> None:
        async def run_job(_context: dict[str, Any], job_id: int, attempt: int) -> None:
            await runner.run(job_id, attempt)

        self._runner = runner
        self._is_stopping = False
        super().__init__(
            # Should a worker die between arq's pick and our claim, arq counts a try. Attempts are ours to bound.
            functions=[func(cast(Any, run_job), name=FUNCTION, max_tries=1_000_000, timeout=None)],
            redis_pool=redis,
            queue_name=QUEUE,
            max_jobs=1,
            job_timeout=10**9,
            keep_result=0,
            poll_delay=POLL_S,
            handle_signals=False,
            retry_jobs=False,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
        )
        self.in_progress_timeout_s = PICK_TIMEOUT_S
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    async def main(self) -> None:
        async with beside(self._listen()):
            while not self._is_stopping or self.tasks:
                self._wake.clear()
                await self._look()
                await self._wait_for_a_reason()

    def stop_picking(self) -> None:
        """`main` returns when the job at hand, if any, has ended."""
        self._is_stopping, self.allow_pick_jobs = True, False
        self._wake.set()

    async def _look(self) -> None:
        try:
            may_begin = await self._runner.may_begin()
            self.allow_pick_jobs = may_begin and not self._is_stopping
            await self._poll_iteration()
        except (RedisError, OSError) as error:
            log.warning("queue_unreachable", error=repr(error))
            await self._forget_half_started()
            await asyncio.sleep(AFTER_REDIS_ERROR_S)
        if self.job_counter < self.max_jobs:
            self._idle.set()

    async def _poll_iteration(self) -> None:
        """arq's own takes the line as it stands, and keeps a health record and crons that nobody here asks for."""
        if self.allow_pick_jobs and self.job_counter < self.max_jobs:
            await self.start_jobs([job_id.encode() for job_id in await self._runner.best_jobs()])
        for job_id in [each for each, task in self.tasks.items() if task.done()]:
            self.tasks.pop(job_id).result()

    async def _forget_half_started(self) -> None:
        # arq counts a job before it asks Redis for it, and takes the count back for two kinds of errors only.
        alive = [task for task in self.tasks.values() if not task.done()]
        self.job_counter = len(alive)
        self.sem = asyncio.BoundedSemaphore(self.max_jobs + 1)
        for _ in alive:
            await self.sem.acquire()

    async def _wait_for_a_reason(self) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), self.poll_delay_s)
        except TimeoutError:
            pass

    async def _listen(self) -> None:
        while True:
            await self._idle.wait()
            try:
                if await cast(Awaitable[Any], self.pool.blpop([WAKE], timeout=BLOCK_S)):
                    # Not listening again until the look that follows finds us idle: a busy worker must leave the
                    # wake-ups to others.
                    self._idle.clear()
                    self._wake.set()
            except (RedisError, OSError):
                await asyncio.sleep(AFTER_REDIS_ERROR_S)

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._idle.set()
        self._wake.set()
