"""GET of one job: those that are asked for at once share one query, and one look at the queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from jobs.errors import NotFound
from jobs.job import JobView
from jobs.storage.job_store import JobStore
from orchestrator.batcher import Batcher, Pending
from orchestrator.job_views import JobViews

READ_WITHIN_S = 15

JobOfAccount: TypeAlias = tuple[int, int]
"""Account and job id."""


class JobReader:
    """Open it with `open_job_reader`."""

    def __init__(self, jobs: JobStore, views: JobViews) -> None:
        self._jobs = jobs
        self._views = views
        self.batcher: Batcher[JobOfAccount, JobView] = Batcher(self._read)

    async def view(self, account_id: int, job_id: int) -> JobView:
        """Raises NotFound, also for another account's job."""
        return await self.batcher.ask((account_id, job_id))

    async def _read(self, batch: Sequence[Pending[JobOfAccount, JobView]]) -> None:
        async with asyncio.timeout(READ_WITHIN_S):
            jobs = await self._jobs.get_many({job_id for _, job_id in {each.item for each in batch}})
            views = {(view.job.account_id, view.job.id): view for view in await self._views.of(jobs)}
        for each in batch:
            if view := views.get(each.item):
                each.resolve(view)
            else:
                each.fail(NotFound(f"There is no job {each.item[1]}."))


@asynccontextmanager
async def open_job_reader(jobs: JobStore, views: JobViews) -> AsyncIterator[JobReader]:
    reader = JobReader(jobs, views)
    try:
        yield reader
    finally:
        reader.batcher.close()
