"""From what an account asks for to a job on its way in: what it costs, and what it needs of a worker."""

from collections.abc import Callable
from datetime import datetime

from jobs.account import Account
from jobs.catalog import Catalog
from jobs.cost import work_of
from jobs.credits import Rates, price
from jobs.need import need_of
from jobs.storage.job_store import NewJob
from jobs.submission import Submission
from orchestrator.foresight import Foresight


class NewJobs:
    def __init__(self, *, catalog: Catalog, rates: Rates, foresight: Foresight, now: Callable[[], datetime]) -> None:
        self._catalog = catalog
        self._rates = rates
        self._foresight = foresight
        self._now = now

    def of(self, account: Account, fingerprint: bytes, submission: Submission) -> NewJob:
        """`submission` has its seed."""
        work = work_of(submission.stages)
        return NewJob(
            account_id=account.id,
            fingerprint=fingerprint,
            dialect="tams",
            submission=submission,
            credits=price(submission.stages, self._catalog, self._rates),
            cost_s=work.nominal_s * self._foresight.outlook.factor(work.kind),
            kind=work.kind,
            need=str(need_of(submission.stages)),
            weight=account.weight,
            priority=account.priority,
            created_at=self._now(),
        )
