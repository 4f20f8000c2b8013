"""arq's worker, woken by an event instead of a poll. It runs nothing itself: `runner` does.

Of arq it keeps the client, the line, the key of a job that is being given to a worker, and the sign of health. To look
at the line and to take a job out of it takes arq's own loop six round trips for each job, and here two for each look.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any, cast

import structlog
from arq import Worker, func
from arq.connections import ArqRedis
from redis.exceptions import RedisError

from gpu_worker.runner import Runner
from jobs.storage.background import beside
from jobs.storage.job_queue import FUNCTION, LINE, WAKE, Attempt

BLOCK_S = 5
POLL_S = 0.5
AFTER_REDIS_ERROR_S = 0.5

log = structlog.get_logger()


class WakingWorker(Worker):
    """Looks for jobs when it is told of one, when its own have been drawn, and twice a second in any case."""

    def __init__(self, runner: Runner, redis: ArqRedis, pool: str) -> None:
        async def run_job(_context: dict[str, Any], *attempts: Attempt) -> None:
            await runner.run(*attempts)

        self._runner = runner
        self._wake_ups = WAKE + pool
        self._is_stopping = False
        super().__init__(
            functions=[func(cast(Any, run_job), name=FUNCTION)],
            redis_pool=redis,
            queue_name=LINE + pool,
            poll_delay=POLL_S,
            handle_signals=False,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
        )
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    async def main(self) -> None:
        async with beside(self._listen()):
            while not self._is_stopping:
                self._wake.clear()
                if attempts := await self._picked():
                    await self._run(attempts)
                else:
                    await self._wait_for_a_reason()

    def stop_picking(self) -> None:
        """`main` returns when what it runs has been drawn."""
        self._is_stopping = True
        self._wake.set()

    async def _picked(self) -> Sequence[Attempt]:
        try:
            await self.heart_beat()
            picked = await self._runner.pick()
            # Who was told to stop meanwhile leaves them: others are given them as soon as the pick has lapsed.
            return () if self._is_stopping else picked
        except (RedisError, OSError) as error:
            log.warning("queue_unreachable", error=repr(error))
            await asyncio.sleep(AFTER_REDIS_ERROR_S)
            return ()

    async def _run(self, attempts: Sequence[Attempt]) -> None:
        try:
            await self.functions[FUNCTION].coroutine(self.ctx, *attempts)
            self.jobs_complete += len(attempts)
        except Exception:
            # They stay in the line, and a worker is given them again.
            log.exception("attempts_not_begun")
            self.jobs_failed += len(attempts)

    async def _wait_for_a_reason(self) -> None:
        self._idle.set()
        try:
            await asyncio.wait_for(self._wake.wait(), self.poll_delay_s)
        except TimeoutError:
            pass

    async def _listen(self) -> None:
        while True:
            await self._idle.wait()
            try:
                if await cast(Awaitable[Any], self.pool.blpop([self._wake_ups], timeout=BLOCK_S)):
                    # Not listening again until the look that follows finds nothing: a busy worker must leave the
                    # wake-ups to others.
                    self._idle.clear()
                    self._wake.set()
            except (RedisError, OSError):
                await asyncio.sleep(AFTER_REDIS_ERROR_S)
