"""/healthz: the process answers. /readyz: it can reach what it needs, and says what it cannot."""

import asyncio
from collections.abc import Awaitable

from aiohttp import web
from arq.connections import ArqRedis

from jobs.storage.database import Database
from orchestrator.json_http import json_response

CHECK_WITHIN_S = 2


class Health:
    def __init__(self, database: Database, redis: ArqRedis) -> None:
        self._database = database
        self._redis = redis

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/healthz", self.alive), web.get("/readyz", self.ready)]

    async def alive(self, _request: web.Request) -> web.Response:
        return json_response({"status": "ok"})

    async def ready(self, _request: web.Request) -> web.Response:
        postgres, redis = await asyncio.gather(_verdict(self._ask_postgres()), _verdict(self._redis.ping()))
        is_ready = postgres == redis == "ok"
        return json_response({"postgres": postgres, "redis": redis}, 200 if is_ready else 503)

    async def _ask_postgres(self) -> None:
        async with self._database.connection() as connection:
            await connection.fetchval("SELECT 1")


async def _verdict(check: Awaitable[object]) -> str:
    try:
        await asyncio.wait_for(check, CHECK_WITHIN_S)
    except Exception as error:  # whatever is wrong, the answer is that it is not ready
        return type(error).__name__
    return "ok"
