"""The order of waiting jobs: arq's sorted set in Redis, and what workers are told at once.

It may be emptied at any time; the sweeper refills it.

An arq id is `<job>:<attempt>`, so that nothing that an earlier attempt left behind can block a later one.
"""

import time
from collections.abc import Awaitable, Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from arq.connections import ArqRedis
from arq.constants import default_queue_name, job_key_prefix
from arq.jobs import serialize_job

from jobs.job import QueuePlace
from jobs.storage.job_store import Waiting
from jobs.storage.redis_connection import serialize

QUEUE = default_queue_name
WAKE = "darkroom:wake"
FILLED = "darkroom:filled"
FUNCTION = "run_job"
# Redis forgets a signal after a month; the sweeper would set it again.
KEY_LIFE_MS = 30 * 24 * 3600 * 1000
# Who draws the job listens already, or will as soon as its claim has returned.
CANCEL_LIFE_S = 60
# Shorter than the connection's own patience.
BLOCK_S = 5

_ENQUEUE = (Path(__file__).parent / "enqueue.lua").read_text()


class JobQueue:
    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis
        self._enqueue = redis.register_script(_ENQUEUE)

    async def add(self, jobs: Sequence[Waiting]) -> list[QueuePlace]:
        """Queues what is not queued yet, wakes workers, and gives each job's place."""
        arguments: list[str | bytes | float] = [KEY_LIFE_MS]
        for job in jobs:
            arguments += [_arq_id(job.job_id, job.attempt), repr(job.score), _signal(job)]
        *ranks, length = await self._enqueue(keys=[QUEUE, WAKE], args=arguments)
        return [QueuePlace(rank=rank + 1, length=length) for rank in ranks]

    async def places(self, attempts: Iterable[tuple[int, int]]) -> list[QueuePlace | None]:
        """Where each coming attempt (job, number) stands; None when it is not in the queue. One call, O(log n) each."""
        pipeline = self._redis.pipeline(transaction=False)
        for job_id, attempt in attempts:
            pipeline.zrank(QUEUE, _arq_id(job_id, attempt))
        pipeline.zcard(QUEUE)
        *ranks, length = await pipeline.execute()
        return [None if rank is None else QueuePlace(rank=rank + 1, length=length) for rank in ranks]

    async def remove(self, job_id: int, attempt: int) -> None:
        """At the claim, so that the set holds waiting jobs only."""
        await self._redis.zrem(QUEUE, _arq_id(job_id, attempt))

    async def cancel(self, job_id: int, attempt: int) -> None:
        """Takes the attempt after this one out of the order, and tells who is at work on this one to stop."""
        coming, signal = _arq_id(job_id, attempt + 1), _cancel_key(job_id, attempt)
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.zrem(QUEUE, coming)
        pipeline.delete(job_key_prefix + coming)
        pipeline.rpush(signal, "")
        pipeline.expire(signal, CANCEL_LIFE_S)
        await pipeline.execute()

    async def canceled(self, job_id: int, attempt: int) -> None:
        """Returns when `cancel` has been called for this attempt. A signal may be lost with Redis."""
        signal = _cancel_key(job_id, attempt)
        while not await cast(Awaitable[Any], self._redis.blpop([signal], timeout=BLOCK_S)):
            pass

    async def epoch(self) -> str | None:
        """Tells one filling of the queue from another: None after Redis was emptied, other after it restarted."""
        filled = await self._redis.get(FILLED)
        if filled is None:
            return None
        server = await self._redis.info("server")
        return f"{filled.decode()}:{server['run_id']}"

    async def mark_filled(self) -> None:
        await self._redis.set(FILLED, repr(time.time()))


def _arq_id(job_id: int, attempt: int) -> str:
    return f"{job_id}:{attempt}"


def _cancel_key(job_id: int, attempt: int) -> str:
    return f"darkroom:cancel:{job_id}:{attempt}"


def _signal(job: Waiting) -> bytes:
    arguments = (job.job_id, job.attempt)
    now_ms = int(time.time() * 1000)
    return serialize_job(FUNCTION, arguments, {}, None, now_ms, serializer=serialize)
