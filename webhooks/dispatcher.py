"""Takes due callbacks from the outbox, hands each to the courier, and records what came of it."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

import structlog
from structlog.contextvars import bound_contextvars

from jobs.storage.database import DATABASE_AWAY
from jobs.storage.delivery_store import Delivery, DeliveryStore
from webhooks.delivery import TOTAL_S, Courier, Superseded, Verdict
from webhooks.schedule import delay_after

TRY_WITHIN_S = TOTAL_S + 10
# Longer than a try can last, so that a claim lapses only when its dispatcher has died.
CLAIM = timedelta(seconds=TRY_WITHIN_S + 5)
FINISH_TRIES_WITHIN_S = 20
LOOK_AT_LEAST_EVERY_S = 5.0
AFTER_DATABASE_ERROR_S = 1.0

log = structlog.get_logger()


class Dispatcher:
    """`wake` may be called from anywhere in the event loop; `stop` lets the tries at hand end."""

    def __init__(
        self, deliveries: DeliveryStore, courier: Courier, *, delays_s: Sequence[float], concurrency: int
    ) -> None:
        self._deliveries = deliveries
        self._courier = courier
        self._delays_s = delays_s
        self._concurrency = concurrency
        self._trying: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._stopped = False

    def wake(self) -> None:
        self._woken.set()

    def stop(self) -> None:
        self._stopped = True
        self.wake()

    async def dispatch(self) -> None:
        """Returns after `stop`, when all tries have ended."""
        while not self._stopped:
            self._woken.clear()
            try:
                pause_s = await self._take_batch()
            except DATABASE_AWAY as error:
                log.error("outbox_unreachable", error=repr(error))
                pause_s = AFTER_DATABASE_ERROR_S
            await self._sleep(pause_s)
        if self._trying:
            await asyncio.wait(self._trying, timeout=FINISH_TRIES_WITHIN_S)
        for task in self._trying:
            task.cancel()  # its claim lapses, and the same id is sent again

    async def _take_batch(self) -> float:
        free = self._concurrency - len(self._trying)
        if not free:
            return LOOK_AT_LEAST_EVERY_S  # the end of a try wakes us
        batch = await self._deliveries.claim(limit=free, claim=CLAIM)
        for delivery in batch:
            task = asyncio.create_task(self._try(delivery))
            self._trying.add(task)
            task.add_done_callback(self._tried)
        return await self._pause_s() if len(batch) < free else LOOK_AT_LEAST_EVERY_S

    async def _pause_s(self) -> float:
        seconds = await self._deliveries.seconds_to_next()
        return LOOK_AT_LEAST_EVERY_S if seconds is None else min(max(seconds, 0.05), LOOK_AT_LEAST_EVERY_S)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            pass

    def _tried(self, task: asyncio.Task[None]) -> None:
        self._trying.discard(task)
        self.wake()

    async def _try(self, delivery: Delivery) -> None:
        with bound_contextvars(delivery_id=str(delivery.id), job_id=delivery.job_id, tries=delivery.tries):
            try:
                async with asyncio.timeout(TRY_WITHIN_S):
                    await self._record(delivery, await self._courier.try_once(delivery))
            except Superseded:
                await self._deliveries.settle(delivery, "SUPERSEDED", status=None, error=None)
            except Exception:
                # Not recorded is not lost: the claim lapses and the same id is sent again.
                log.exception("delivery_not_recorded")

    async def _record(self, delivery: Delivery, verdict: Verdict) -> None:
        delay = delay_after(delivery.tries, self._delays_s, random.random) if verdict.may_retry else None
        if verdict.error is None:
            await self._deliveries.settle(delivery, "DELIVERED", status=verdict.status, error=None)
            log.info("callback_delivered", status=verdict.status)
        elif delay is None:
            await self._deliveries.settle(delivery, "DEAD", status=verdict.status, error=verdict.error)
            log.error("callback_given_up", status=verdict.status, error=verdict.error)
        else:
            await self._deliveries.postpone(delivery, delay, status=verdict.status, error=verdict.error)
            log.warning("callback_failed", status=verdict.status, error=verdict.error, next_s=delay.total_seconds())
