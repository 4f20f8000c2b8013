"""For how long jobs have been running: PostgreSQL is asked once for each attempt. It keeps nothing that it cannot ask
for again.
"""

import time
from collections.abc import Iterable

from jobs.job import JobStatus, ToldJob
from jobs.storage.event_store import EventStore

# As many attempts are remembered; they are asked for again.
LAST = 10_000


class RunningTimes:
    """By this process's clock, which need not agree with the database's."""

    def __init__(self, events: EventStore) -> None:
        self._events = events
        self._began: dict[tuple[int, int], float] = {}

    async def learn(self, jobs: Iterable[ToldJob]) -> None:
        running = {(job.id, job.attempt) for job in jobs if job.status == JobStatus.RUNNING}
        if unknown := running - self._began.keys():
            ran_s = await self._events.since_started(sorted(unknown))
            now = time.monotonic()
            self._began |= {attempt: now - seconds for attempt, seconds in ran_s.items()}
        while len(self._began) > LAST:
            del self._began[next(iter(self._began))]

    def of(self, job: ToldJob) -> float:
        """In seconds; 0 where it was not learned."""
        began = self._began.get((job.id, job.attempt))
        return 0.0 if began is None else max(time.monotonic() - began, 0.0)
