"""From what an account asks for to a job on its way in: what it says, what it costs, and what it needs of a worker.

In steps that know one draft each. All drafts of a batch take a step before any takes the next: what a step runs is then
in the processor's caches for all but the first. See docs/decisions/0015.
"""

import hashlib
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from jobs.account import Account
from jobs.capabilities import unsupported
from jobs.catalog import Catalog
from jobs.cost import Work, work_of
from jobs.credits import Rates, price
from jobs.dialects.tams_answers import JobAnswer
from jobs.dialects.tams_request import JobReading, input_paths
from jobs.errors import Fault, InvalidSubmission
from jobs.job import JobView
from jobs.need import need_of
from jobs.stages.canvas import Size
from jobs.stages.input_initialize import MAX_SEED
from jobs.storage.job_store import NewJob
from jobs.storage.resource_store import ResourceStore
from jobs.submission import Submission, picture_faults, with_picture_size, with_seeds
from orchestrator.entering import Accepted
from orchestrator.foresight import Foresight
from orchestrator.input_pictures import OfAccount, sizes_of
from orchestrator.json_http import json_of

# Many times what nearly every body has.
LARGE_BYTES = 65_536


@dataclass(slots=True, weakref_slot=True, eq=False)
class Draft:
    """A job that is asked for, as far as it has come: each step sets what the next ones build on.

    `packed` is the body as it came, `bounds` are fields of a Submission.
    """

    account: Account
    packed: bytes = b""
    encoding: str = ""
    bounds: Mapping[str, Any] = field(default_factory=dict)
    is_read: bool = field(default=False, init=False)
    # Set by `reading`, in this order; what was not a body comes with the last three.
    body: Any = field(default=None, init=False)
    reading: JobReading = field(init=False)
    submission: Submission = field(init=False)
    paths: Mapping[str, str] = field(init=False)
    fingerprint: bytes = field(init=False)
    # By `pricing`.
    work: Work = field(init=False)
    credits: Decimal = field(init=False)
    need: str = field(init=False)
    new_job: NewJob = field(init=False)
    # When it has entered, and by `Telling`.
    accepted: Accepted = field(init=False)
    view: JobView = field(init=False)
    answer: JobAnswer = field(init=False)
    told: bytes = field(init=False)

    @staticmethod
    def of(account: Account, submission: Submission, fingerprint: bytes) -> "Draft":
        """Of what did not come as a body."""
        draft = Draft(account)
        draft.submission, draft.fingerprint, draft.paths, draft.is_read = submission, fingerprint, {}, True
        return draft

    @property
    def is_large(self) -> bool:
        """Whether it may take long to read."""
        return bool(self.encoding) or len(self.packed) > LARGE_BYTES


Step = Callable[[Draft], None]


class Drafting:
    def __init__(
        self,
        *,
        catalog: Catalog,
        rates: Rates,
        foresight: Foresight,
        resources: ResourceStore,
        max_body_bytes: int,
        now: Callable[[], datetime],
    ) -> None:
        self._catalog = catalog
        self._rates = rates
        self._foresight = foresight
        self._resources = resources
        self._max_body_bytes = max_body_bytes
        self._now = now
        self.reading: Sequence[Step] = (self._unpack, self._look, self._understand, self._paths, self._fingerprint)
        """What may find fault with a body. Raises InvalidSubmission or TooLarge."""
        self.pricing: Sequence[Step] = (_seed, self._work, self._price, _need, self._finish)

    def read(self, draft: Draft) -> None:
        """All steps of `reading`."""
        for step in self.reading:
            step(draft)
        draft.is_read = True

    async def sizes(self, drafts: Collection[Draft]) -> Mapping[OfAccount, Size]:
        """Of the pictures that they name."""
        return await sizes_of(self._resources, {(draft.account.id, name) for draft in drafts for name in draft.paths})

    def look_at_pictures(self, draft: Draft, known: Mapping[OfAccount, Size]) -> None:
        """Raises InvalidSubmission."""
        account_id, submission = draft.account.id, draft.submission
        sizes = {name: known[account_id, name] for name in draft.paths if (account_id, name) in known}
        stages = with_picture_size(submission.stages, sizes)
        if faults := _absent(draft.paths, sizes) or picture_faults(stages, sizes, draft.paths):
            raise InvalidSubmission(faults)
        draft.submission = replace(submission, stages=stages)

    def _unpack(self, draft: Draft) -> None:
        draft.body = json_of(draft.packed, draft.encoding, self._max_body_bytes)

    def _fingerprint(self, draft: Draft) -> None:
        draft.fingerprint = fingerprint_of(draft.body, draft.bounds)

    def _look(self, draft: Draft) -> None:
        draft.reading = JobReading(draft.body, self._catalog)
        draft.reading.look_at_fields()

    def _understand(self, draft: Draft) -> None:
        submission = draft.reading.submission(unsupported)
        draft.submission = replace(submission, **draft.bounds) if draft.bounds else submission

    def _paths(self, draft: Draft) -> None:
        draft.paths = input_paths(draft.submission)

    def _work(self, draft: Draft) -> None:
        draft.work = work_of(draft.submission.stages)

    def _price(self, draft: Draft) -> None:
        draft.credits = price(draft.submission.stages, self._catalog, self._rates)

    def _finish(self, draft: Draft) -> None:
        account, work = draft.account, draft.work
        draft.new_job = NewJob(
            account_id=account.id,
            fingerprint=draft.fingerprint,
            dialect="tams",
            submission=draft.submission,
            credits=draft.credits,
            cost_s=work.nominal_s * self._foresight.outlook.factor(work.kind),
            kind=work.kind,
            need=draft.need,
            weight=account.weight,
            priority=account.priority,
            created_at=self._now(),
        )


def _seed(draft: Draft) -> None:
    draft.submission = with_seeds(draft.submission, lambda: 1 + secrets.randbelow(MAX_SEED))


def _need(draft: Draft) -> None:
    draft.need = str(need_of(draft.submission.stages))


def fingerprint_of(body: Any, bounds: Mapping[str, Any]) -> bytes:
    """Tells one JSON value, or the same with other bounds, from another, whatever the order of its names. Raises
    InvalidSubmission."""
    asked = [body, bounds] if bounds else body
    try:
        return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).digest()
    except orjson.JSONEncodeError as error:
        raise InvalidSubmission([Fault("", "the body has an integer of over 64 bits")]) from error


def _absent(paths: Mapping[str, str], sizes: Collection[str]) -> list[Fault]:
    missing = ((name, path) for name, path in paths.items() if name not in sizes)
    return [Fault(path, f"there is no resource {name!r} with a picture; upload one first") for name, path in missing]
