"""Records what was delivered, many at once: while one statement is at work the next batch gathers."""

import asyncio

from jobs.storage.delivery_store import Attempt, Delivery, DeliveryStore

MAX_BATCH = 500


class Recorder:
    def __init__(self, deliveries: DeliveryStore) -> None:
        self._deliveries = deliveries
        self._waiting: list[tuple[Delivery, Attempt, asyncio.Future[None]]] = []
        self._working: asyncio.Task[None] | None = None

    async def delivered(self, delivery: Delivery, attempt: Attempt) -> None:
        """Returns when it is recorded. Raises what the database raises, to all of the batch."""
        recorded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((delivery, attempt, recorded))
        if self._working is None:
            self._working = asyncio.create_task(self._work())
        await recorded

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                error = await self._record([(delivery, attempt) for delivery, attempt, _ in batch])
                for _, _, recorded in batch:
                    if not recorded.done():  # who was cut has gone
                        recorded.set_exception(error) if error else recorded.set_result(None)
        finally:
            self._working = None

    async def _record(self, batch: list[tuple[Delivery, Attempt]]) -> Exception | None:
        try:
            await self._deliveries.record_delivered(batch)
        except Exception as error:
            return error
        return None
