"""The connections to Redis: a pool, as arq's client, and single ones. It names no key: the queue and the progress board
do.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError

CONNECT_TIMEOUT_S = 5
# Longer than any blocking read that a worker makes.
SOCKET_TIMEOUT_S = 15
WAIT_FOR_CONNECTION_S = 5


@asynccontextmanager
async def open_redis(url: str, *, verify_tls: bool = True, connections: int = 50) -> AsyncIterator[ArqRedis]:
    """arq's client over one pool that waits, for a bounded time, when it is exhausted.

    `verify_tls` False accepts self-signed certificates, which hosted offerings use.
    """
    options = _tls_options(verify_tls) if url.startswith("rediss:") else {}
    pool: BlockingConnectionPool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=WAIT_FOR_CONNECTION_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 2),
        retry_on_error=[RedisConnectionError],
        **options,
    )
    redis = ArqRedis(pool, job_serializer=serialize, job_deserializer=deserialize)
    try:
        yield redis
    finally:
        await redis.aclose()
        await pool.disconnect()


@asynccontextmanager
async def open_direct(redis: ArqRedis) -> AsyncIterator[Redis]:
    """One connection more to the same server, for calls that come one after the other and have a deadline of their own.

    The pool looks at a connection before each call and sets its deadlines by tasks: that takes several turns of the
    loop, and twice the time.
    """
    pool: ConnectionPool = redis.connection_pool
    options = pool.connection_kwargs | {"socket_timeout": None}
    single: ConnectionPool = ConnectionPool(connection_class=pool.connection_class, **options)
    direct = Redis(connection_pool=single, single_connection_client=True)
    try:
        yield direct
    finally:
        # A call that was given up just now gives its connection back itself.
        direct.connection = None
        await single.disconnect()


def _tls_options(verify: bool) -> dict[str, Any]:
    # redis-py 5 leaves the host name unchecked unless it is told otherwise.
    return {"ssl_check_hostname": True} if verify else {"ssl_cert_reqs": "none"}


def serialize(job: dict[str, Any]) -> bytes:
    """JSON and not pickle: who can write to Redis must not be able to run code on a worker."""
    return orjson.dumps(job, default=str)


def deserialize(job: bytes) -> dict[str, Any]:
    value: dict[str, Any] = orjson.loads(job)
    return value
