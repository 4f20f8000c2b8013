"""What is new about the jobs that someone watches. One poller for all streams of the process; it sends nothing.

A poll is one query and two calls to Redis, whatever the number of streams; what has changed costs as much again. It
asks for durable events by their ids and so misses none; live state is what is there at the moment of asking.
"""

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError

from jobs.events import JobEvent
from jobs.job import JobView, Progress, ToldJob
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.event_store import EventStore
from jobs.storage.job_store import JobStore
from orchestrator.job_views import JobViews

POLL_S = 0.2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Update:
    """New durable events, if any, and the job as it is now."""

    events: tuple[JobEvent, ...]
    view: JobView

    @property
    def is_last(self) -> bool:
        return any(event.kind.is_final for event in self.events)


class Subscription:
    """One stream's share. What it has not fetched yet is one update: live states replace each other in it."""

    def __init__(self, job: ToldJob, after: int) -> None:
        self.job = job
        self.after = after
        self.is_closed = False
        self._live: Progress | int | None = None
        self._pending: Update | None = None
        self._changed = asyncio.Event()

    async def next(self, *, within_s: float) -> Update | None:
        """What came since the last call; None if that is nothing."""
        try:
            await asyncio.wait_for(self._changed.wait(), within_s)
        except TimeoutError:
            return None
        self._changed.clear()
        update, self._pending = self._pending, None
        return update

    def offer(self, events: Sequence[JobEvent], view: JobView) -> None:
        new, live = tuple(event for event in events if event.id > self.after), _live(view)
        if not new and live in (None, self._live):
            return
        if new:
            self.after = new[-1].id
        self._live = live
        earlier = self._pending.events if self._pending else ()
        self._pending = Update(earlier + new, view)
        self._changed.set()

    def close(self) -> None:
        self.is_closed = True
        self._changed.set()


class JobFeed:
    def __init__(self, jobs: JobStore, events: EventStore, views: JobViews) -> None:
        self._jobs = jobs
        self._events = events
        self._views = views
        self._subscriptions: set[Subscription] = set()
        self._subscribed = asyncio.Event()
        self._is_closed = False

    @contextmanager
    def subscribe(self, job: ToldJob, after: int) -> Iterator[Subscription]:
        """`after` is the id of the last durable event that is known already, or NOTHING_YET."""
        subscription = Subscription(job, after)
        subscription.is_closed = self._is_closed
        self._subscriptions.add(subscription)
        self._subscribed.set()
        try:
            yield subscription
        finally:
            self._subscriptions.remove(subscription)

    async def close(self, _app: object = None) -> None:
        """Ends all subscriptions, also those to come."""
        self._is_closed = True
        for subscription in self._subscriptions:
            subscription.close()

    async def poll_for_ever(self) -> None:
        while True:
            await self._pause()
            try:
                await self._poll()
            except (*DATABASE_AWAY, RedisError) as error:
                log.warning("feed_poll_failed", error=repr(error))
            except Exception:
                # A feed that ends would leave every stream silent.
                log.exception("feed_poll_broke")

    async def _pause(self) -> None:
        """Not at all for who has just come; as long as no one watches, for ever."""
        try:
            await asyncio.wait_for(self._subscribed.wait(), POLL_S if self._subscriptions else None)
        except TimeoutError:
            pass
        self._subscribed.clear()

    async def _poll(self) -> None:
        watched: defaultdict[int, list[Subscription]] = defaultdict(list)
        for subscription in self._subscriptions:
            watched[subscription.job.id].append(subscription)
        last = {job_id: min(each.after for each in watchers) for job_id, watchers in watched.items()}
        events = await self._events.after(last)
        for view in await self._views_of([watchers[0].job for watchers in watched.values()], events.keys()):
            for subscription in watched[view.job.id]:
                subscription.job = view.job
                subscription.offer(events.get(view.job.id, ()), view)

    async def _views_of(self, jobs: Sequence[ToldJob], changed_ids: Collection[int]) -> list[JobView]:
        # A job changes with an event, so that only then it must be read again.
        changed = await self._jobs.told(changed_ids) if changed_ids else []
        unchanged = [job for job in jobs if job.id not in changed_ids]
        return [*await self._views.of(changed), *await self._views.live(unchanged)]


def _live(view: JobView) -> Progress | int | None:
    """What may change without an event, and is worth telling: the line's length is not."""
    return view.place.rank if view.place else view.progress
