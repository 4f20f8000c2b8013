"""Looking at a picture with a network: a short job that the request waits for. It looks at none itself.

Why a job, and what becomes of it: docs/decisions/0014.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

from jobs.account import Account
from jobs.errors import DarkroomError, Fault, InvalidSubmission, JobEnded, Unavailable
from jobs.events import NOTHING_YET
from jobs.job import Failure, FailureCode, Image, Job, JobStatus, ToldJob
from jobs.need import Need, need_of, read_need
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.input_initialize import InputInitialize
from jobs.submission import Submission
from orchestrator.account_turns import AccountTurns
from orchestrator.drafting import Draft
from orchestrator.foresight import Foresight
from orchestrator.intake import Intake
from orchestrator.job_cancel import JobCanceler
from orchestrator.job_feed import JobFeed, Subscription

WITHIN_S = 60
# How soon we see that a client has gone, or the last worker.
LOOK_EVERY_S = 1
# Each costs as long as it waits, as a stream of events does.
MAX_AT_ONCE = 100


class DetectJobs:
    def __init__(self, *, intake: Intake, feed: JobFeed, foresight: Foresight, canceler: JobCanceler) -> None:
        self._intake = intake
        self._feed = feed
        self._foresight = foresight
        self._canceler = canceler
        self._turns = AccountTurns(MAX_AT_ONCE)

    async def look(
        self, account: Account, picture: Image, stage: ControlnetDetect, has_gone: Callable[[], bool]
    ) -> Image:
        """The output of a job of this account. `has_gone` tells whether nobody waits for it any more.

        Raises InvalidSubmission where no attempt can succeed, Unavailable where another might, and what `Intake` does.
        """
        submission = _submission(picture, stage)
        async with self._turns.turn(account.id):
            self._check_possible(need_of(submission.stages))
            fingerprint = hashlib.sha256(submission.request_id.encode()).digest()
            job = (await self._intake.take_in(Draft.of(account, submission, fingerprint))).job
            async with self._canceled_unless_ended(job):
                return _output(await self._ended(job, has_gone))

    def _check_possible(self, need: Need) -> None:
        if missing := self._foresight.outlook.missing(need):
            raise Unavailable(f"Nobody can look at it now: {'; '.join(missing)}.")
        if not self._foresight.outlook.able(str(need)):
            raise Unavailable("Nobody can look at it now: the workers that could are paused.")

    @asynccontextmanager
    async def _canceled_unless_ended(self, job: Job) -> AsyncIterator[None]:
        """Whatever ends the wait, the job does not outlive it: nobody would look at its picture."""
        try:
            yield
        except BaseException:
            with suppress(JobEnded):
                await self._canceler.cancel(job.account_id, job.id)
            raise

    async def _ended(self, job: Job, has_gone: Callable[[], bool]) -> ToldJob:
        with self._feed.subscribe(job, NOTHING_YET) as subscription:
            try:
                async with asyncio.timeout(WITHIN_S):
                    return await self._last(subscription, has_gone)
            except TimeoutError as error:
                raise Unavailable(f"No worker has looked at it within {WITHIN_S} s; send it again.") from error

    async def _last(self, subscription: Subscription, has_gone: Callable[[], bool]) -> ToldJob:
        while not subscription.is_closed and not has_gone():
            update = await subscription.next(within_s=LOOK_EVERY_S)
            if update and update.is_last:
                return update.view.job
            if subscription.job.status == JobStatus.WAITING:
                self._check_possible(read_need(subscription.job.need))
        raise Unavailable("The wait for the picture was ended; send it again.")


def _submission(picture: Image, stage: ControlnetDetect) -> Submission:
    """Its bounds end it where nobody is left to cancel it."""
    size = picture.width, picture.height
    initial = InputInitialize(seed=0, image_resource_id=str(picture.id), picture_size=size)
    return Submission(
        request_id=f"detect-{uuid4()}",
        stages=(initial, stage),
        start_within_s=WITHIN_S,
        end_within_s=WITHIN_S,
    )


def _output(job: ToldJob) -> Image:
    if job.images:
        return job.images[0]
    if job.failure:
        raise _refusal(job.failure)
    raise Unavailable(f"Job {job.id}, which was to look at it, was canceled; send it again.")


def _refusal(failure: Failure) -> DarkroomError:
    if failure.code == FailureCode.TRANSITORY_ERROR:
        return Unavailable(f"{failure.reason}; send it again.")
    # A worker says in which stage: of these two the account has sent none.
    path, _, reason = failure.reason.partition(": ")
    field = "resourceId" if path.startswith("stages[0]") else "controlnetModule"
    return InvalidSubmission([Fault(field, reason if path.startswith("stages[") else failure.reason)])
