"""Tells the others that this worker is alive, what it can run, and until when it should be busy. It knows no
job.
"""

import asyncio
import time
from collections.abc import Awaitable

import structlog
from redis.exceptions import RedisError

from jobs.ability import Ability
from jobs.storage.outlook_board import OutlookBoard

TELL_EVERY_S = 2
# Jobs that are shorter than this are told of together.
TELL_AT_MOST_EVERY_S = 0.1
TELL_WITHIN_S = 2

log = structlog.get_logger()


class Presence:
    def __init__(self, board: OutlookBoard, worker: str, pool: str, ability: Ability) -> None:
        self._board = board
        self._worker = worker
        self._pool = pool
        self._ability = ability
        self._began: float | None = None
        self._cost_s = 0.0
        self._is_paused = False
        self._durations: list[tuple[str, float]] = []
        self._changed = asyncio.Event()

    def begin(self, cost_s: float) -> None:
        """A job that should take so long."""
        self._began, self._cost_s = time.monotonic(), cost_s
        self._changed.set()

    def end(self) -> None:
        self._began, self._cost_s = None, 0.0
        self._changed.set()

    def drew(self, kind: str, factor: float) -> None:
        """A job of this kind took so many times its nominal seconds."""
        self._durations.append((kind, factor))
        self._changed.set()

    def rest(self, is_paused: bool) -> None:
        """Whether an operator lets it take no new job."""
        if is_paused != self._is_paused:
            self._is_paused = is_paused
            self._changed.set()

    async def tell_for_ever(self) -> None:
        """At once what changes, and every two seconds. What a slow Redis misses is skipped, never queued up."""
        while True:
            self._changed.clear()
            await self._in_time(self._tell())
            await asyncio.sleep(TELL_AT_MOST_EVERY_S)
            try:
                await asyncio.wait_for(self._changed.wait(), TELL_EVERY_S)
            except TimeoutError:
                pass

    async def _in_time(self, telling: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(TELL_WITHIN_S):
                await telling
        except (RedisError, OSError) as error:
            log.warning("presence_not_told", error=repr(error))
        except Exception:
            log.exception("presence_broke")  # and not ended: a worker that is silent counts as dead

    async def _tell(self) -> None:
        if self._durations:
            durations, self._durations = self._durations, []
            await self._board.measured(*durations)
        busy_s = None if self._began is None else time.monotonic() - self._began
        await self._board.tell(
            self._worker,
            pool=self._pool,
            ability=self._ability,
            busy_s=busy_s,
            cost_s=self._cost_s,
            is_paused=self._is_paused,
        )

    async def leave(self) -> None:
        """Where it cannot be told, the silence tells it."""
        await self._in_time(self._board.forget(self._worker))
