"""GET of one job: those that are asked for at once share one query, and one look at the queue."""

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias

from jobs.errors import NotFound
from jobs.job import JobView
from jobs.storage.database import DATABASE_AWAY
from jobs.storage.job_store import JobStore
from orchestrator.batcher import Batcher, Pending
from orchestrator.job_views import JobViews

READ_WITHIN_S = 15
LATE = "The database does not answer; ask again."

JobOfAccount: TypeAlias = tuple[int, int]
"""Account and job id."""


class JobReader:
    """Open it with `open_job_reader`."""

    def __init__(self, jobs: JobStore, views: JobViews) -> None:
        self._jobs = jobs
        self._views = views
        self._batcher: Batcher[JobOfAccount, JobView] = Batcher(self._read, within_s=READ_WITHIN_S, late=LATE)

    async def view(self, account_id: int, job_id: int) -> JobView:
        """Raises NotFound, also for another account's job."""
        return await self._batcher.ask((account_id, job_id))

    def close(self) -> None:
        self._batcher.close()

    async def _read(self, batch: Sequence[Pending[JobOfAccount, JobView]]) -> None:
        try:
            views = await self._views_of({job_id for _, job_id in {each.item for each in batch}})
        except DATABASE_AWAY:
            raise
        except Exception as error:
            await self._read_one_by_one(batch, error)
            return
        for each in batch:
            if view := views.get(each.item):
                each.resolve(view)
            else:
                each.fail(NotFound(f"There is no job {each.item[1]}."))

    async def _views_of(self, job_ids: Collection[int]) -> dict[JobOfAccount, JobView]:
        views = await self._views.of(await self._jobs.told(job_ids))
        return {(view.job.account_id, view.job.id): view for view in views}

    async def _read_one_by_one(self, batch: Sequence[Pending[JobOfAccount, JobView]], error: Exception) -> None:
        # One row that cannot be read must not fail its neighbours.
        if len(batch) == 1:
            raise error
        for each in batch:
            try:
                await self._read([each])
            except Exception as own:
                each.fail(own)


@asynccontextmanager
async def open_job_reader(jobs: JobStore, views: JobViews) -> AsyncIterator[JobReader]:
    reader = JobReader(jobs, views)
    try:
        yield reader
    finally:
        reader.close()
