"""Takes due callbacks from the outbox, hands each to the courier, and records what came of it."""

import asyncio
import random
from collections.abc import Sequence
from datetime import timedelta

import structlog
from structlog.contextvars import bound_contextvars

from jobs.deliveries import DeliveryState
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.delivery_store import HOPELESS_AFTER, Attempt, Delivery, DeliveryStore
from webhooks.delivery import Courier, Superseded, Verdict
from webhooks.lanes import Lanes
from webhooks.schedule import delay_after

# For the database, before and after the receiver has had its time.
STATEMENTS_WITHIN_S = 10
FINISH_TRIES_WITHIN_S = 20
LOOK_AT_LEAST_EVERY_S = 5.0
AFTER_DATABASE_ERROR_S = 1.0
# A destination that takes longer to answer is not sent more at once.
QUICK_S = 2.0
DISABLED = f"the destination is disabled: nothing sent to it succeeded in {HOPELESS_AFTER.days} days"

log = structlog.get_logger()


class Dispatcher:
    """`wake` may be called from anywhere in the event loop; `stop` lets the tries at hand end."""

    def __init__(self, deliveries: DeliveryStore, courier: Courier, lanes: Lanes, *, delays_s: Sequence[float]) -> None:
        self._deliveries = deliveries
        self._courier = courier
        self._lanes = lanes
        self._delays_s = delays_s
        self._try_within_s = courier.deadlines.total_s + STATEMENTS_WITHIN_S
        # Longer than a try can last, so that a claim lapses only when its dispatcher has died.
        self._claim = timedelta(seconds=self._try_within_s + 5)
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
        rooms = self._lanes.rooms()
        if not rooms.limit:
            return LOOK_AT_LEAST_EVERY_S  # the end of a try wakes us
        batch = await self._deliveries.claim(rooms, claim=self._claim)
        for delivery in batch:
            self._lanes.enter(delivery.destination_id)
            task = asyncio.create_task(self._try(delivery))
            self._trying.add(task)
            task.add_done_callback(self._tried)
        return await self._pause_s() if len(batch) < rooms.limit else LOOK_AT_LEAST_EVERY_S

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
        is_well = False
        with bound_contextvars(delivery_id=str(delivery.id), job_id=delivery.job_id, tries=delivery.tries + 1):
            try:
                async with asyncio.timeout(self._try_within_s):
                    verdict = await self._courier.try_once(delivery)
                    is_well = verdict.is_delivered and verdict.attempt.seconds < QUICK_S
                    await self._record(delivery, verdict)
            except Superseded:
                await self._deliveries.supersede(delivery)
            except Exception:
                # Not recorded is not lost: the claim lapses and the same id is sent again.
                log.exception("delivery_not_recorded")
            finally:
                self._lanes.leave(delivery.destination_id, well=is_well)

    async def _record(self, delivery: Delivery, verdict: Verdict) -> None:
        attempt = verdict.attempt
        told = {"status": attempt.status, "seconds": round(attempt.seconds, 3)}
        if verdict.is_delivered:
            await self._deliveries.record(delivery, attempt, DeliveryState.DELIVERED)
            log.info("callback_delivered", **told)
        elif (delay := self._delay(delivery, verdict)) is None:
            await self._record_failure(delivery, attempt, DeliveryState.DEAD)
            log.error("callback_given_up", error=attempt.error, **told)
        else:
            await self._record_failure(delivery, attempt, DeliveryState.PENDING, delay)
            log.warning("callback_failed", error=attempt.error, next_s=delay.total_seconds(), **told)

    def _delay(self, delivery: Delivery, verdict: Verdict) -> timedelta | None:
        if not verdict.may_retry:
            return None
        return delay_after(delivery.tries + 1, self._delays_s, random.random, verdict.wait)

    async def _record_failure(
        self, delivery: Delivery, attempt: Attempt, state: DeliveryState, delay: timedelta | None = None
    ) -> None:
        if await self._deliveries.record(delivery, attempt, state, delay):
            await self._deliveries.disable(delivery.destination_id, DISABLED)
            log.error("destination_disabled", destination_id=delivery.destination_id)
