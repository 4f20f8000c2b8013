"""The connection pool to PostgreSQL, and the named queries. It holds no query's meaning: the stores do."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeAlias, cast

import aiosql
import asyncpg
from aiosql.adapters.asyncpg import AsyncPGAdapter

Connection: TypeAlias = Any  # asyncpg's pool proxies have no useful static type
COMMAND_TIMEOUT_S = 30
CLOSE_WITHIN_S = 3

# What a database that is away, restarting or overrun raises: the same statement may succeed later.
DATABASE_AWAY = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.DeadlockDetectedError,
    asyncpg.ReadOnlySQLTransactionError,
    # What asyncpg says of a connection that broke at an unlucky moment: "another operation is in progress".
    asyncpg.InternalClientError,
)


class _Adapter(AsyncPGAdapter):
    """Is always given a connection. aiosql's own would take a pool as well, and goes through all that a connection has,
    at each query, to tell which it is."""

    def _in_order(self, query_name: str, parameters: Any) -> Sequence[Any]:
        ordered: Sequence[Any] = cast(Any, self).maybe_order_params(query_name, parameters)
        return ordered

    async def select(
        self, conn: Connection, query_name: str, sql: str, parameters: Any, record_class: None = None
    ) -> AsyncIterator[Any]:
        for row in await conn.fetch(sql, *self._in_order(query_name, parameters)):
            yield row

    async def select_one(
        self, conn: Connection, query_name: str, sql: str, parameters: Any, record_class: None = None
    ) -> Any:
        return await conn.fetchrow(sql, *self._in_order(query_name, parameters))

    async def select_value(self, conn: Connection, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.fetchval(sql, *self._in_order(query_name, parameters))

    async def insert_update_delete(self, conn: Connection, query_name: str, sql: str, parameters: Any) -> Any:
        return await conn.execute(sql, *self._in_order(query_name, parameters))


queries: Any = aiosql.from_path(Path(__file__).parent / "sql", cast(Any, _Adapter))


class Database:
    """One pool; every statement has a deadline."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        # Not the pool's own deadline, which costs a task each time.
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            connection = await self._pool.acquire()
        try:
            yield connection
        finally:
            await self._pool.release(connection, timeout=COMMAND_TIMEOUT_S)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        async with self.connection() as connection, connection.transaction():
            yield connection

    async def close(self) -> None:
        """Waits for statements at work, but not long: a backend that hangs must not keep the process."""
        try:
            await asyncio.wait_for(self._pool.close(), CLOSE_WITHIN_S)
        except TimeoutError:
            self._pool.terminate()


@asynccontextmanager
async def open_database(url: str, *, connections: int = 10) -> AsyncIterator[Database]:
    """A pool of at most `connections`, closed on leaving."""
    pool = await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=connections,
        command_timeout=COMMAND_TIMEOUT_S,
        timeout=COMMAND_TIMEOUT_S,
        reset=_leave_as_it_is,
    )
    database = Database(pool)
    try:
        yield database
    finally:
        await database.close()


async def _leave_as_it_is(_connection: Connection) -> None:
    """Nothing here sets what outlives a transaction: asking the server to reset it would double the round trips."""


async def rows_of(query: AsyncIterator[Any]) -> list[Any]:
    """All rows of a named query that gives several."""
    return [row async for row in query]
