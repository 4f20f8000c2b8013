"""A real installation of which every part can be killed and started again."""

import asyncio
import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis.asyncio

from cli.process import Process
from cli.stack import Stack, running_stack
from embedded.postgres import EmbeddedPostgres
from embedded.redis import EmbeddedRedis

# Kills come faster than in any life: no job may be given up for having met several of them.
ENVIRONMENT = {"DARKROOM_MAX_ATTEMPTS": "1000", "DARKROOM_DELIVERY_DELAYS_S": ",".join(["0.5"] * 200)}
WORKERS = 2


@dataclass
class Installation:
    folder: Path
    postgres: EmbeddedPostgres
    redis: EmbeddedRedis
    stack: Stack
    more: list[Process] = field(default_factory=list)

    @property
    def files(self) -> Path:
        return self.folder / "files"

    def processes(self, module: str) -> list[Process]:
        return [each for each in (*self.stack.processes, *self.more) if each.module == module]

    def logged(self, event: str) -> str:
        """By the web process, with the traceback that follows."""
        text = (self.folder / "logs" / "orchestrator.log").read_text()
        return "".join(text[found.start() : found.start() + 6000] for found in re.finditer(event, text))

    def start_worker(self) -> None:
        self.more.append(Process("gpu_worker", self.stack.environment, self.folder / f"worker{len(self.more)}"))

    def start_again(self) -> None:
        """Every process that has ended, as a supervisor does."""
        for processes in (self.stack.processes, self.more):
            for position, process in enumerate(processes):
                if not process.is_running:
                    processes[position] = process.again()

    def kill(self, module: str) -> None:
        """The first of its kind that runs."""
        next(each for each in self.processes(module) if each.is_running).kill()

    def kill_worker(self, process_id: int) -> None:
        for each in self.processes("gpu_worker"):
            if each.process_id == process_id:
                each.kill()

    async def kill_postgres(self, away_s: float) -> None:
        os.kill(int((self.folder / "stores" / "postgres" / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        await asyncio.sleep(away_s)
        self.postgres.stop()
        self.postgres.start()

    async def kill_redis(self, away_s: float) -> None:
        async with redis.asyncio.from_url(self.redis.url) as connection:
            process_id = (await connection.info("server"))["process_id"]
        os.kill(process_id, signal.SIGKILL)
        await asyncio.sleep(away_s)
        self.redis.stop()
        self.redis.start()

    async def empty_redis(self) -> None:
        async with redis.asyncio.from_url(self.redis.url) as connection:
            await connection.flushall()


@contextmanager
def installation(folder: Path) -> Iterator[Installation]:
    with (
        # In a folder of their own: those of its own folder the stack would start itself.
        EmbeddedPostgres(folder / "stores") as postgres,
        EmbeddedRedis(folder / "stores") as redis_server,
        pytest.MonkeyPatch.context() as patch,
    ):
        stores = {"DATABASE_URL": postgres.url, "REDIS_URL": redis_server.url}
        for name, value in (ENVIRONMENT | stores).items():
            patch.setenv(name, value)
        with running_stack(folder, port=0) as stack:
            made = Installation(folder, postgres, redis_server, stack)
            for _ in range(WORKERS - 1):
                made.start_worker()
            try:
                yield made
            finally:
                for process in made.more:
                    process.kill()
