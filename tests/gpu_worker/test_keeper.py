"""A lease is renewed again and again, whatever becomes of one renewal."""

import asyncio
from datetime import timedelta
from typing import Any, cast

import pytest

from gpu_worker.heart.keeper import StoreKeeper
from jobs.errors import AttemptLost
from jobs.storage.job_store import JobStore

LEASE = timedelta(seconds=0.6)


class SilentOnce:
    """A store whose first connection has fallen silent."""

    def __init__(self) -> None:
        self.renewals = 0

    async def renew_lease(self, _job_id: int, _attempt: int, _lease: timedelta) -> None:
        self.renewals += 1
        if self.renewals == 1:
            await asyncio.sleep(60)
        raise AttemptLost


async def test_a_renewal_that_hangs_is_followed_by_another_before_the_lease_has_lapsed() -> None:
    store = SilentOnce()
    keeper = StoreKeeper(cast(JobStore, cast(Any, store)), LEASE)

    with pytest.raises(AttemptLost):
        await asyncio.wait_for(keeper.keep(1, 1), 1.5 * LEASE.total_seconds())
    assert store.renewals == 2
