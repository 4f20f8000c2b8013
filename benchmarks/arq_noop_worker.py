"""A bare arq worker whose function does nothing. Used by `benchmarks.queue_throughput`."""

import os
from typing import Any, cast

import uvloop
from arq import Worker, func

from jobs.storage.redis_connection import open_redis

QUEUE = "bare"


async def noop(_context: dict[str, Any], _number: int) -> None: ...


async def main() -> None:
    async with open_redis(os.environ["REDIS_URL"]) as redis:
        worker = Worker(
            [func(cast(Any, noop), name="noop")],
            queue_name=QUEUE,
            redis_pool=redis,
            handle_signals=False,
            poll_delay=0.01,
            keep_result=0,
            job_serializer=redis.job_serializer,
            job_deserializer=redis.job_deserializer,
        )
        await worker.main()


if __name__ == "__main__":
    uvloop.run(main())
