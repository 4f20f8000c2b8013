"""Deletes what nobody can see any more: expired pictures, what lost attempts left, and the log of old callbacks.

Any number of cleaners may run; one works at a time, and each step is safe to repeat.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import TypeVar

import structlog

from jobs.errors import Unavailable
from jobs.storage.cleaning_store import Cleaning, CleaningStore, Expired, Leftovers
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.files import Files, output_folder, upload_folder

EVERY = timedelta(minutes=1)
BATCH = 200
AT_ONCE = 8
# What takes longer goes on at the next round.
DELETE_WITHIN_S = 10
# Longer than a request takes from the look at a picture to the commit of the job that begins from it, and than the
# clocks of two machines differ.
GRACE = timedelta(hours=1)
# An attempt that was given up may still be storing its pictures.
LEFTOVERS_GRACE = timedelta(days=1)
# So that a year of callbacks does not make each one slower.
DELIVERIES_KEPT = timedelta(days=30)

T = TypeVar("T")

log = structlog.get_logger()


class Cleaner:
    def __init__(self, store: CleaningStore, files: Files) -> None:
        self._store = store
        self._files = files
        # By kind, how many of the oldest cannot be deleted: they are passed over until all behind them were tried.
        self._stuck: Counter[str] = Counter()

    async def clean_for_ever(self) -> None:
        while True:
            try:
                await self.clean()
            except (*DATABASE_AWAY, Unavailable) as error:
                log.warning("cleaning_failed", error=repr(error))
            except Exception:
                log.exception("cleaning_broke")  # and not ended: then nothing would be removed any more
            await asyncio.sleep(EVERY.total_seconds())

    async def clean(self) -> None:
        """All that is due, batch by batch, unless another process is at it."""
        while await self._clean_some():
            pass

    async def _clean_some(self) -> bool:
        """Whether there may be more."""
        async with self._store.alone() as cleaning:
            if cleaning is None:
                return False
            # All, whatever the first says.
            more = [
                await self._clean_expired(cleaning),
                await self._clean_leftovers(cleaning),
                await self._clean_stage_outputs(cleaning),
                await cleaning.forget_deliveries(kept=DELIVERIES_KEPT, limit=BATCH) == BATCH,
                # Last: who would use one waits until this transaction ends.
                await cleaning.forget_destinations(limit=BATCH) == BATCH,
            ]
            return any(more)

    async def _clean_expired(self, cleaning: Cleaning) -> bool:
        # The file first and then its row: no query shows a row that has expired, so a crash between the two loses
        # nothing that is shown, and the row is found again. The other way round a file would stay that no row names.
        find = partial(cleaning.expired, grace=GRACE)
        return await self._clean_batch("expired_pictures_removed", find, self._delete, cleaning.removed)

    async def _clean_leftovers(self, cleaning: Cleaning) -> bool:
        find = partial(cleaning.leftovers, grace=LEFTOVERS_GRACE)
        return await self._clean_batch("leftovers_removed", find, self._delete_leftovers, cleaning.leftovers_removed)

    async def _clean_stage_outputs(self, cleaning: Cleaning) -> bool:
        # The files first, as above: a worker that finds a row without them draws again.
        return await self._clean_batch(
            "stage_outputs_removed",
            cleaning.expired_stage_outputs,
            lambda each: self._files.delete_folder(each.folder),
            cleaning.stage_outputs_removed,
        )

    async def _clean_batch(
        self,
        event: str,
        find: Callable[..., Awaitable[list[T]]],
        delete: Callable[[T], Awaitable[None]],
        removed: Callable[[list[T]], Awaitable[None]],
    ) -> bool:
        """Whether another batch is worth a try now."""
        found = await find(after=self._stuck[event], limit=BATCH)
        deleted = await _each(delete, found)
        await removed(deleted)
        if deleted:
            log.info(event, count=len(deleted))
        is_last = len(found) < BATCH
        self._stuck[event] = 0 if is_last else self._stuck[event] + len(found) - len(deleted)
        return bool(deleted) and not is_last

    async def _delete(self, expired: Expired) -> None:
        if not expired.is_output:
            # With what was sent to this address and refused, if a crash left it.
            await self._files.delete_folder(upload_folder(expired.id))
        elif expired.key is not None:
            await self._files.delete(expired.key)

    async def _delete_leftovers(self, leftovers: Leftovers) -> None:
        for attempt in leftovers.attempts:
            await self._files.delete_folder(output_folder(leftovers.job_id, attempt))


async def _each(delete: Callable[[T], Awaitable[None]], things: Sequence[T]) -> list[T]:
    """Those that could be deleted; one that cannot does not keep the others."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def in_turn(thing: T) -> None:
        async with turns, asyncio.timeout(DELETE_WITHIN_S):
            await delete(thing)

    outcomes = await asyncio.gather(*map(in_turn, things), return_exceptions=True)
    for thing, outcome in zip(things, outcomes, strict=True):
        if isinstance(outcome, Exception):
            log.warning("not_deleted", what=repr(thing), error=repr(outcome))
    return [thing for thing, outcome in zip(things, outcomes, strict=True) if outcome is None]
