"""One try of one callback: render, sign, post, judge. It does not decide when to try again."""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import perf_counter
from uuid import uuid4

import aiohttp
import structlog
from redis.exceptions import RedisError

from jobs.deliveries import DeliveryKind
from jobs.dialects.callbacks import callback_body
from jobs.job import JobStatus, JobView, Progress, ToldJob
from jobs.links import Links
from jobs.storage.delivery_store import Attempt, Delivery
from jobs.storage.job_store import JobStore
from jobs.storage.progress_board import ProgressBoard
from webhooks.guard import AddressRefused
from webhooks.posting import Answer, Place, Poster
from webhooks.schedule import GONE, wait_asked_for
from webhooks.signature import signed_headers, tams_header

READ_OF_AN_ANSWER = 4096
KEPT_OF_AN_ANSWER = 500
TEST_BODY = b'{"test":true}'
SEQUENCE_HEADER = "darkroom-sequence"
PROGRESS_WITHIN_S = 1

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds: for a connection, for the head of the answer, and for what its body adds to that."""

    connect_s: float = 10
    answer_s: float = 30
    body_s: float = 5

    @property
    def total_s(self) -> float:
        return self.answer_s + self.body_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of it, and whether and how soon another try makes sense."""

    attempt: Attempt
    may_retry: bool = True
    wait: timedelta = timedelta(0)

    @property
    def is_delivered(self) -> bool:
        return self.attempt.error is None


def facts_of(delivery: Delivery, attempt: Attempt | None = None) -> dict[str, object]:
    """What a line of the log tells of it."""
    facts: dict[str, object] = {
        "delivery_id": str(delivery.id),
        "job_id": delivery.job_id,
        "tries": delivery.tries + 1,
    }
    return facts if attempt is None else facts | {"status": attempt.status, "seconds": round(attempt.seconds, 3)}


class Superseded(Exception):
    """The job has moved on: its end is told by another callback."""


class NothingNew(Exception):
    """The receiver knows all there is of the job's progress."""


class Courier:
    def __init__(
        self,
        poster: Poster,
        jobs: JobStore,
        board: ProgressBoard,
        links: Links,
        *,
        now: Callable[[], datetime],
        deadlines: Deadlines,
    ) -> None:
        self._poster = poster
        self._jobs = jobs
        self._board = board
        self._links = links
        self._now = now
        self.deadlines = deadlines

    async def load(self, deliveries: Collection[Delivery]) -> dict[int, ToldJob]:
        """The jobs that these tell of, as they are now."""
        jobs = await self._jobs.told({each.job_id for each in deliveries if each.job_id is not None})
        return {job.id: job for job in jobs}

    async def try_once(self, delivery: Delivery, job: ToldJob | None) -> Verdict:
        """Never raises for what the receiver does. Raises Superseded or NothingNew."""
        body, told = await self._body(delivery, job)
        verdict = await self._sent(delivery, body)
        if told is None or not verdict.is_delivered:
            return verdict
        return replace(verdict, attempt=replace(verdict.attempt, told=told))

    async def _sent(self, delivery: Delivery, body: bytes) -> Verdict:
        began = perf_counter()

        def attempt(error: str) -> Attempt:
            return Attempt(seconds=perf_counter() - began, error=error)

        try:
            place = self._poster.place(delivery.url)
        except AddressRefused as refusal:
            return Verdict(attempt=attempt(refusal.message), may_retry=False)
        except ValueError as failure:
            return Verdict(attempt=attempt(_told(failure)))
        # What goes wrong with our own keys is no failure of the receiver's, and so is raised.
        headers = self._headers(delivery, place, body)
        try:
            return await self._post(place, headers, body)
        except AddressRefused as refusal:
            return Verdict(attempt=attempt(refusal.message), may_retry=False)
        except TimeoutError:
            return Verdict(attempt=attempt("no answer in time"), wait=wait_asked_for(None, None, self._now()))
        except (aiohttp.ClientError, OSError, UnicodeError) as failure:
            return Verdict(attempt=attempt(_told(failure)))

    async def _body(self, delivery: Delivery, job: ToldJob | None) -> tuple[bytes, str | None]:
        """And what it tells of progress. Rendered now and not when it was queued: after a day its links still work."""
        if job is None:
            return TEST_BODY, None
        if delivery.kind == DeliveryKind.TERMINAL:
            return callback_body(JobView(job=job), self._links), None
        if job.status != JobStatus.RUNNING:
            raise Superseded
        progress = await self._progress(job)
        told = _mark(progress)
        if delivery.kind == DeliveryKind.PROGRESS and told in (None, delivery.told):
            raise NothingNew
        return callback_body(JobView(job=job, progress=progress), self._links), told

    async def _progress(self, job: ToldJob) -> Progress | None:
        try:
            async with asyncio.timeout(PROGRESS_WITHIN_S):
                (progress,) = await self._board.get([(job.id, job.attempt)])
        except (RedisError, OSError) as error:
            log.warning("progress_not_known", job_id=job.id, error=repr(error))
            return None
        return progress

    async def _post(self, place: Place, headers: dict[str, str], body: bytes) -> Verdict:
        began = perf_counter()
        async with asyncio.timeout(self.deadlines.answer_s):
            answer = await self._poster.post(place, headers, body)
        seconds = perf_counter() - began
        # The head says whether it was delivered; a body that never ends does not change that.
        try:
            return self._verdict(answer, seconds, await self._beginning(answer))
        finally:
            answer.release()

    def _headers(self, delivery: Delivery, place: Place, body: bytes) -> dict[str, str]:
        sent_at = self._now()
        headers = signed_headers(delivery.secrets, delivery.message_id, sent_at, body, ed25519_key=delivery.ed25519_key)
        headers[SEQUENCE_HEADER] = str(delivery.sequence)
        # An address with a user's name has its own Authorization.
        if delivery.rsa_key and not place.has_user:
            headers["Authorization"] = tams_header(delivery.rsa_key, place.path, uuid4().hex, sent_at, body)
        return headers

    def _verdict(self, answer: Answer, seconds: float, beginning: str) -> Verdict:
        status = answer.status
        if 200 <= status < 300:
            return Verdict(attempt=Attempt(seconds=seconds, status=status, answer=beginning or None))
        return Verdict(
            attempt=Attempt(seconds=seconds, status=status, error=_refusal(status), answer=beginning or None),
            may_retry=status != GONE,
            wait=wait_asked_for(status, answer.headers.get("Retry-After"), self._now()),
        )

    async def _beginning(self, answer: Answer) -> str:
        """Of the body, as far as it comes soon. More than that is not read: the connection is closed."""
        content = b""
        if answer.body.at_eof():
            return ""  # as most are
        try:
            async with asyncio.timeout(self.deadlines.body_s):
                while len(content) < READ_OF_AN_ANSWER and not answer.body.at_eof():
                    content += await answer.body.read(READ_OF_AN_ANSWER - len(content))
        except (TimeoutError, aiohttp.ClientError, OSError):
            pass
        return content.decode("utf-8", "replace").replace("\x00", "")[:KEPT_OF_AN_ANSWER]


def _refusal(status: int) -> str:
    return f"answered {status}{': redirects are not followed' if 300 <= status < 400 else ''}"


def _told(failure: Exception) -> str:
    """Without the address, which aiohttp puts at the end of many: its query may hold the receiver's secret."""
    match failure:
        case aiohttp.ClientResponseError():
            reason = failure.message
        case OSError():
            reason = failure.strerror or ""
        case _:
            reason = ""
    return f"{type(failure).__name__}: {reason}"[:KEPT_OF_AN_ANSWER].removesuffix(": ")


def _mark(progress: Progress | None) -> str | None:
    """Another one for each progress that is worth a call."""
    if progress is None:
        return None
    previews = ",".join(f"{each.index}-{each.number}" for each in progress.previews)
    return f"{progress.attempt}/{progress.stage}/{progress.step}/{progress.fraction}/{previews}"
