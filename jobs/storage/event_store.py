"""The events of jobs in PostgreSQL. It writes none: the job store does, with each change of state."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from jobs.events import EventKind, JobEvent
from jobs.storage.database import Database, queries, rows_of


class EventStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def after(self, last: Mapping[int, int]) -> dict[int, list[JobEvent]]:
        """By job, the events that came after the one whose id is given, or NOTHING_YET. One query."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.events_after(connection, job_ids=list(last), afters=list(last.values())))
        events: defaultdict[int, list[JobEvent]] = defaultdict(list)
        for row in rows:
            events[row["job_id"]].append(JobEvent(**(dict(row) | {"kind": EventKind(row["kind"])})))
        return dict(events)

    async def since_started(self, attempts: Sequence[tuple[int, int]]) -> dict[tuple[int, int], float]:
        """How many seconds ago each of these attempts (job, number) began."""
        job_ids, numbers = (list(each) for each in zip(*attempts, strict=True))
        async with self._database.connection() as connection:
            rows = await rows_of(queries.since_started(connection, job_ids=job_ids, attempts=numbers))
        return {(row["job_id"], row["attempt"]): row["seconds"] for row in rows}
