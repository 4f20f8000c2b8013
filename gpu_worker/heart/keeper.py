"""Who keeps the lease of the attempt at hand. It neither claims nor decides an outcome."""

import asyncio
from datetime import timedelta
from typing import Protocol

import structlog

from jobs.errors import AttemptLost
from jobs.storage.job_store import JobStore

RENEWALS_PER_LEASE = 3

log = structlog.get_logger()


class LeaseKeeper(Protocol):
    """Held by the runner: in its own process, or in one beside it."""

    async def keep(self, job_id: int, attempt: int) -> None:
        """Renews the lease until it is canceled. Raises AttemptLost once the attempt may no longer write."""
        ...


class StoreKeeper:
    """Renews straight in the database."""

    def __init__(self, jobs: JobStore, lease: timedelta) -> None:
        self._jobs = jobs
        self._lease = lease

    async def keep(self, job_id: int, attempt: int) -> None:
        each_s = self._lease.total_seconds() / RENEWALS_PER_LEASE
        while True:
            await asyncio.sleep(each_s)
            try:
                # Over a connection that has fallen silent it would wait for longer than the lease lasts.
                async with asyncio.timeout(each_s):
                    await self._jobs.renew_lease(job_id, attempt, self._lease)
            except AttemptLost:
                raise
            except Exception as error:
                # Not renewed is not yet lost. If it stays so the lease lapses, and the fence refuses our result.
                log.warning("lease_not_renewed", job_id=job_id, error=repr(error))

    async def let_lapse(self, job_id: int, attempt: int) -> None:
        """At once: nobody works on it any more. An attempt that has ended stays as it is."""
        try:
            await self._jobs.renew_lease(job_id, attempt, timedelta(0))
        except AttemptLost:
            pass
