"""Records what was delivered, many at once: while one statement is at work the next batch gathers."""

import asyncio
from collections.abc import Callable, Sequence

import structlog

from jobs.storage.delivery_store import Attempt, Delivery, DeliveryStore
from webhooks.delivery import facts_of

MAX_BATCH = 500
# What has been sent and waits for a database that does not keep up: then no more is claimed.
MAX_WAITING = 1000
GATHER_S = 0.01
CLOSE_WITHIN_S = 20
# Of so many at once each has a line of the log.
FEW = 8

log = structlog.get_logger()


class Recorder:
    """`when_room` is called when it has room again."""

    def __init__(self, deliveries: DeliveryStore, when_room: Callable[[], None]) -> None:
        self._deliveries = deliveries
        self._when_room = when_room
        self._waiting: list[tuple[Delivery, Attempt]] = []
        self._working: asyncio.Task[None] | None = None

    @property
    def is_full(self) -> bool:
        return len(self._waiting) >= MAX_WAITING

    def delivered(self, delivery: Delivery, attempt: Attempt) -> None:
        self._waiting.append((delivery, attempt))
        if self._working is None:
            self._working = asyncio.create_task(self._work())

    async def close(self) -> None:
        """Returns when all is recorded."""
        if self._working:
            await asyncio.wait([self._working], timeout=CLOSE_WITHIN_S)

    async def _work(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(GATHER_S)
                was_full = self.is_full
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._record(batch)
                if was_full and not self.is_full:
                    self._when_room()
        finally:
            self._working = None

    async def _record(self, batch: Sequence[tuple[Delivery, Attempt]]) -> None:
        try:
            await self._deliveries.record_delivered(batch)
            _log(batch)
        except Exception:
            # Not recorded is not lost: the claims lapse and the same ids are sent again.
            log.exception("deliveries_not_recorded", delivery_ids=[str(delivery.id) for delivery, _ in batch])


def _log(batch: Sequence[tuple[Delivery, Attempt]]) -> None:
    """Each of a few; of many that there were: a line for each would take as long as its signature."""
    if len(batch) > FEW:
        log.info("callbacks_delivered", number=len(batch))
    else:
        for delivery, attempt in batch:
            log.info("callback_delivered", **facts_of(delivery, attempt))
