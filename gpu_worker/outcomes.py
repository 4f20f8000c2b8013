"""Stores successes, all in one statement that come while the one before is under way. It retries nothing."""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from jobs.errors import AttemptLost
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_store import JobStore, Success

MOST = 64


class _Pending(NamedTuple):
    success: Success
    stored: asyncio.Future[None]


class Outcomes:
    def __init__(self, jobs: JobStore) -> None:
        self._jobs = jobs
        self._pending: list[_Pending] = []
        self._storing: asyncio.Task[None] | None = None

    async def store(self, success: Success) -> None:
        """Raises AttemptLost if another attempt took over: then nothing was written."""
        stored = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(success, stored))
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_all())
        await stored

    async def _store_all(self) -> None:
        while self._pending:
            batch, self._pending = self._pending[:MOST], self._pending[MOST:]
            await self._store(batch)

    async def _store(self, batch: Sequence[_Pending]) -> None:
        try:
            ended = await self._jobs.succeed_all([each.success for each in batch])
        except Exception as error:
            if len(batch) == 1 or isinstance(error, DATABASE_AWAY):
                _answer(batch, [error] * len(batch))
                return
            # One that cannot be stored must not keep the others from it.
            for each in batch:
                await self._store([each])
        else:
            jobs = [each.success.job for each in batch]
            _answer(batch, [None if (job.id, job.attempt) in ended else AttemptLost() for job in jobs])


def _answer(batch: Sequence[_Pending], errors: Sequence[Exception | None]) -> None:
    for each, error in zip(batch, errors, strict=True):
        if each.stored.done():
            continue  # nobody waits for it any more
        if error is None:
            each.stored.set_result(None)
        else:
            each.stored.set_exception(error)
