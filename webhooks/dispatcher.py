"""Takes due callbacks from the outbox, hands each to the courier, and records what came of it."""

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import timedelta

import structlog

from jobs.deliveries import DeliveryKind, DeliveryState
from jobs.job import ToldJob
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.delivery_store import HOPELESS_AFTER, Attempt, Delivery, DeliveryStore
from webhooks.backlog import Backlog
from webhooks.delivery import Courier, NothingNew, Superseded, Verdict, facts_of
from webhooks.lanes import Lanes
from webhooks.recorder import Recorder
from webhooks.schedule import delay_after

FINISH_TRIES_WITHIN_S = 20
LOOK_AT_LEAST_EVERY_S = 5.0
# A look that found something is followed by another; many ends of tries share one.
AFTER_A_BATCH_S = 0.02
GATHER_S = 0.005
AFTER_DATABASE_ERROR_S = 1.0
# What is claimed ahead is given back when its turn has not come by then.
WAITS_HERE_S = 5.0
# For the statements before and after the receiver has had its time.
STATEMENTS_WITHIN_S = 15
# A destination that takes longer to answer shares half of the connections with those that fail.
QUICK_S = 2.0
# Progress that could not be told is old by then, and the next one is not.
AFTER_LOST_PROGRESS = timedelta(seconds=10)
# It may take a person to mend it.
AFTER_OUR_FAULT = timedelta(minutes=1)
DISABLED = f"the destination is disabled: nothing sent to it succeeded in {HOPELESS_AFTER.days} days"

PASSING = (DeliveryKind.RUNNING, DeliveryKind.PROGRESS)

log = structlog.get_logger()


class Dispatcher:
    """`wake` may be called from anywhere in the event loop; `stop` lets the tries at hand end."""

    def __init__(
        self,
        deliveries: DeliveryStore,
        courier: Courier,
        lanes: Lanes,
        *,
        delays_s: Sequence[float],
        progress_every: timedelta,
    ) -> None:
        self._deliveries = deliveries
        self._recorder = Recorder(deliveries, self.wake)
        self._courier = courier
        self._lanes = lanes
        self._delays_s = delays_s
        self._progress_every = progress_every
        self._backlog = Backlog(within_s=WAITS_HERE_S, clock=time.monotonic)
        # Longer than a try can last, so that a claim lapses only when its dispatcher has died.
        self._claim = timedelta(seconds=WAITS_HERE_S + courier.deadlines.total_s + STATEMENTS_WITHIN_S)
        self._trying: dict[asyncio.Task[Verdict | None], Delivery] = {}
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
            await asyncio.sleep(GATHER_S)
        await self._finish()

    async def _finish(self) -> None:
        await self._give_back(self._backlog.take_all())
        if self._trying:
            await asyncio.wait(self._trying, timeout=FINISH_TRIES_WITHIN_S)
        for task in self._trying:
            task.cancel()  # its claim lapses, and the same id is sent again
        await self._recorder.close()

    async def _take_batch(self) -> float:
        await self._drop_superseded()
        await self._give_back(self._backlog.take_late(lambda id: not self._lanes.is_trusted(id)))
        rooms = self._lanes.rooms()
        if not rooms.limit or self._recorder.is_full:
            return LOOK_AT_LEAST_EVERY_S  # the end of a try, or of a record, wakes us
        batch = await self._deliveries.claim(rooms, claim=self._claim)
        for delivery, job in await self._load(batch):
            self._lanes.enter(delivery.destination_id)
            self._backlog.put(delivery, job)
        for destination_id in {each.destination_id for each in batch}:
            self._send_next(destination_id)
        return AFTER_A_BATCH_S if batch else await self._pause_s()

    async def _load(self, batch: Sequence[Delivery]) -> list[tuple[Delivery, ToldJob | None]]:
        """Each with the job it tells of. One that cannot be read keeps no other one back."""
        try:
            jobs = await self._courier.load(batch)
        except DATABASE_AWAY:
            raise
        except Exception:
            if len(batch) > 1:
                return [loaded for each in batch for loaded in await self._load([each])]
            await self._put_off(batch[0])
            return []
        return [(each, jobs.get(each.job_id or 0)) for each in batch]

    async def _put_off(self, delivery: Delivery) -> None:
        """For a fault of ours: the receiver was sent nothing, and none of its tries is used up."""
        log.exception("callback_put_off", **facts_of(delivery))
        await self._deliveries.lay_aside(delivery, DeliveryState.PENDING, AFTER_OUR_FAULT)

    def _send_next(self, destination_id: int) -> None:
        """As many as its lane is wide."""
        while not self._stopped and self._lanes.begin(destination_id):
            claimed = self._backlog.next(destination_id)
            if claimed is None:
                return self._lanes.end(destination_id, well=None)
            task = asyncio.create_task(self._try(claimed.delivery, claimed.job))
            self._trying[task] = claimed.delivery
            task.add_done_callback(self._tried)

    async def _give_back(self, deliveries: Sequence[Delivery]) -> None:
        """To be claimed again at once, by this process or another."""
        try:
            if deliveries:
                await self._deliveries.give_back(deliveries)
        except DATABASE_AWAY as error:
            log.error("claims_not_given_back", error=repr(error))  # they lapse
        finally:
            for each in deliveries:
                self._leave(each)

    def _leave(self, delivery: Delivery) -> None:
        self._lanes.leave(delivery.destination_id)
        if self._lanes.is_half_empty(delivery.destination_id):
            self.wake()

    async def _drop_superseded(self) -> None:
        """A receiver that takes its time over a start or progress does not keep the end of the job waiting."""
        claimed = [*self._trying.values(), *(each.delivery for each in self._backlog)]
        passing = [each for each in claimed if each.kind in PASSING]
        if not passing:
            return
        superseded = await self._deliveries.superseded_of(passing)
        for delivery in self._backlog.take(superseded):
            self._leave(delivery)
        for task in [task for task, each in self._trying.items() if each.id in superseded]:
            task.cancel()
            await asyncio.wait([task])
        for delivery in passing:
            if delivery.id in superseded:
                await self._deliveries.lay_aside(delivery, DeliveryState.SUPERSEDED)

    async def _pause_s(self) -> float:
        seconds = await self._deliveries.seconds_to_next()
        return LOOK_AT_LEAST_EVERY_S if seconds is None else min(max(seconds, 0.05), LOOK_AT_LEAST_EVERY_S)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), seconds)
        except TimeoutError:
            pass

    def _tried(self, task: asyncio.Task[Verdict | None]) -> None:
        delivery = self._trying.pop(task)
        verdict = None if task.cancelled() else task.result()
        if verdict is None:
            self._lanes.end(delivery.destination_id, well=None)
        else:
            is_quick = verdict.attempt.seconds < QUICK_S
            self._lanes.end(delivery.destination_id, well=verdict.is_delivered, quick=is_quick)
        if verdict and _is_settled(delivery, verdict):
            self._recorder.delivered(delivery, verdict.attempt)
        self._leave(delivery)
        if self._lanes.is_trusted(delivery.destination_id):
            self._send_next(delivery.destination_id)
        else:
            self.wake()  # what waits for it is given back

    async def _try(self, delivery: Delivery, job: ToldJob | None) -> Verdict | None:
        """What came of it, None where nothing was sent. What is settled by it is left to be recorded."""
        verdict = None
        try:
            verdict = await self._sent(delivery, job)
            if verdict and not _is_settled(delivery, verdict):
                await self._log_and_record(delivery, verdict)
        except Exception:
            # Not recorded is not lost: the claim lapses and the same id is sent again.
            log.exception("delivery_not_recorded", **facts_of(delivery))
        return verdict

    async def _sent(self, delivery: Delivery, job: ToldJob | None) -> Verdict | None:
        try:
            return await self._courier.try_once(delivery, job)
        except Superseded:
            await self._deliveries.lay_aside(delivery, DeliveryState.SUPERSEDED)
        except NothingNew:
            await self._deliveries.lay_aside(delivery, DeliveryState.PENDING, self._progress_every)
        except Exception:
            await self._put_off(delivery)
        return None

    async def _log_and_record(self, delivery: Delivery, verdict: Verdict) -> None:
        attempt = verdict.attempt
        facts = facts_of(delivery, attempt)
        if delivery.kind == DeliveryKind.PROGRESS and verdict.may_retry:
            await self._record_progress(delivery, verdict)
        elif (delay := self._delay(delivery, verdict)) is None:
            await self._record_failure(delivery, attempt, DeliveryState.DEAD)
            log.error("callback_given_up", error=attempt.error, **facts)
        else:
            await self._record_failure(delivery, attempt, DeliveryState.PENDING, delay)
            log.warning("callback_failed", error=attempt.error, next_s=delay.total_seconds(), **facts)

    def _delay(self, delivery: Delivery, verdict: Verdict) -> timedelta | None:
        if not verdict.may_retry:
            return None
        return delay_after(delivery.tries + 1, self._delays_s, random.random, verdict.wait)

    async def _record_progress(self, delivery: Delivery, verdict: Verdict) -> None:
        """The next look, sooner or later: a receiver that is slow is asked to hear less."""
        if verdict.is_delivered:
            delay = max(self._progress_every, timedelta(seconds=verdict.attempt.seconds))
            await self._deliveries.record(delivery, verdict.attempt, DeliveryState.PENDING, delay)
        else:
            delay = max(AFTER_LOST_PROGRESS, verdict.wait)
            await self._record_failure(delivery, verdict.attempt, DeliveryState.PENDING, delay)

    async def _record_failure(
        self, delivery: Delivery, attempt: Attempt, state: DeliveryState, delay: timedelta | None = None
    ) -> None:
        if await self._deliveries.record(delivery, attempt, state, delay):
            await self._deliveries.disable(delivery.destination_id, DISABLED)
            log.error("destination_disabled", destination_id=delivery.destination_id)


def _is_settled(delivery: Delivery, verdict: Verdict) -> bool:
    return verdict.is_delivered and delivery.kind != DeliveryKind.PROGRESS
