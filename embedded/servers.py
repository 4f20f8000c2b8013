"""Both servers together, as the demonstration, `make up` and the tests use them. It opens no connections to them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embedded.postgres import EmbeddedPostgres
from embedded.redis import EmbeddedRedis


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where to reach them: a DSN for asyncpg, and a URL for redis-py and arq."""

    database_url: str
    redis_url: str


@contextmanager
def embedded_servers(folder: Path, *, fast: bool = False) -> Iterator[Servers]:
    """Run PostgreSQL and Redis with their data in `folder` while inside; stop them in reverse order.

    `fast` gives up surviving a loss of power. Enter it from the main thread: Linux ends the servers with the thread
    that started them. Raises EmbeddedError.
    """
    with EmbeddedPostgres(folder, fast=fast) as postgres, EmbeddedRedis(folder) as redis:
        yield Servers(database_url=postgres.url, redis_url=redis.url)
