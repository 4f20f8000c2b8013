"""One try of one callback: render, sign, post, judge. It does not decide when to try again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache, partial
from time import perf_counter
from uuid import uuid4

import aiohttp
import structlog
from redis.exceptions import RedisError
from yarl import URL

from jobs.deliveries import DeliveryKind
from jobs.dialects.callbacks import callback_body
from jobs.job import Job, JobStatus, JobView, Progress
from jobs.links import Links
from jobs.storage.delivery_store import Attempt, Delivery
from jobs.storage.job_store import JobStore
from jobs.storage.progress_board import ProgressBoard
from webhooks.guard import AddressRefused, GuardedResolver, Network, check_literal
from webhooks.schedule import GONE, wait_asked_for
from webhooks.signature import signed_headers, tams_header

READ_OF_AN_ANSWER = 4096
KEPT_OF_AN_ANSWER = 500
NAMES_KEPT_S = 10
PLACES_REMEMBERED = 1024
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


class Superseded(Exception):
    """The job has moved on: its end is told by another callback."""


class NothingNew(Exception):
    """The receiver knows all there is of the job's progress."""


@asynccontextmanager
async def open_session(
    allowed: Sequence[Network], *, connections: int, deadlines: Deadlines
) -> AsyncIterator[aiohttp.ClientSession]:
    """It reaches only what the guard lets it."""
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(allowed, names_at_once=connections), limit=connections, ttl_dns_cache=NAMES_KEPT_S
    )
    # trust_env stays off: a proxy variable must not lead around the guard.
    async with aiohttp.ClientSession(
        connector=connector,
        # The deadlines of an answer are the courier's: a timer of aiohttp's beside them would be one too many.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=deadlines.connect_s),
        headers={"User-Agent": "darkroom-webhooks", "Accept-Encoding": "identity", "Content-Type": "application/json"},
        auto_decompress=False,
        # A cookie that one receiver sets is no other account's.
        cookie_jar=aiohttp.DummyCookieJar(),
    ) as session:
        yield session


class Courier:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        jobs: JobStore,
        board: ProgressBoard,
        links: Links,
        *,
        allowed: Sequence[Network],
        now: Callable[[], datetime],
        deadlines: Deadlines,
    ) -> None:
        self._session = session
        self._jobs = jobs
        self._board = board
        self._links = links
        # Callbacks go to the same places again and again. What is refused is looked at again, but not sent again.
        self._check_literal = lru_cache(maxsize=PLACES_REMEMBERED)(partial(check_literal, allowed=allowed))
        self._now = now
        self.deadlines = deadlines

    async def load(self, deliveries: Collection[Delivery]) -> dict[int, Job]:
        """The jobs that these tell of, as they are now."""
        jobs = await self._jobs.get_many({each.job_id for each in deliveries if each.job_id is not None})
        return {job.id: job for job in jobs}

    async def try_once(self, delivery: Delivery, job: Job | None) -> Verdict:
        """Never raises for what the receiver does. Raises Superseded or NothingNew."""
        body, told = await self._body(delivery, job)
        began = perf_counter()

        def attempt(error: str) -> Attempt:
            return Attempt(seconds=perf_counter() - began, error=error)

        try:
            url = URL(delivery.url)
            self._check_literal(url.host or "", url.port or 0)
            verdict = await self._post(delivery, url, body)
            if told is None or not verdict.is_delivered:
                return verdict
            return replace(verdict, attempt=replace(verdict.attempt, told=told))
        except AddressRefused as refusal:
            return Verdict(attempt=attempt(refusal.message), may_retry=False)
        except TimeoutError:
            return Verdict(attempt=attempt("no answer in time"), wait=wait_asked_for(None, None, self._now()))
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            return Verdict(attempt=attempt(_told(failure)))

    async def _body(self, delivery: Delivery, job: Job | None) -> tuple[bytes, str | None]:
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

    async def _progress(self, job: Job) -> Progress | None:
        try:
            async with asyncio.timeout(PROGRESS_WITHIN_S):
                (progress,) = await self._board.get([(job.id, job.attempt)])
        except (RedisError, OSError) as error:
            log.warning("progress_not_known", job_id=job.id, error=repr(error))
            return None
        return progress

    async def _post(self, delivery: Delivery, url: URL, body: bytes) -> Verdict:
        headers = self._headers(delivery, url, body)
        began = perf_counter()
        async with asyncio.timeout(self.deadlines.answer_s) as deadline:
            request = self._session.post(url, data=body, headers=headers, allow_redirects=False)
            async with request as response:
                seconds = perf_counter() - began
                # The head says whether it was delivered; a body that never ends does not change that.
                deadline.reschedule(None)
                return self._verdict(response, seconds, await self._answer(response))

    def _headers(self, delivery: Delivery, url: URL, body: bytes) -> dict[str, str]:
        sent_at = self._now()
        headers = signed_headers(delivery.secrets, delivery.message_id, sent_at, body, ed25519_key=delivery.ed25519_key)
        headers[SEQUENCE_HEADER] = str(delivery.sequence)
        # An address with a user's name has its own Authorization.
        if delivery.rsa_key and url.user is None:
            headers["Authorization"] = tams_header(delivery.rsa_key, url.raw_path_qs, uuid4().hex, sent_at, body)
        return headers

    def _verdict(self, response: aiohttp.ClientResponse, seconds: float, answer: str) -> Verdict:
        status = response.status
        if 200 <= status < 300:
            return Verdict(attempt=Attempt(seconds=seconds, status=status, answer=answer or None))
        return Verdict(
            attempt=Attempt(seconds=seconds, status=status, error=f"answered {status}", answer=answer or None),
            may_retry=status != GONE,
            wait=wait_asked_for(status, response.headers.get("Retry-After"), self._now()),
        )

    async def _answer(self, response: aiohttp.ClientResponse) -> str:
        """The beginning of the body, as far as it comes soon. More than that is not read: the connection is closed."""
        content = b""
        if response.content.at_eof():
            return ""  # as most are
        try:
            async with asyncio.timeout(self.deadlines.body_s):
                while len(content) < READ_OF_AN_ANSWER and not response.content.at_eof():
                    content += await response.content.read(READ_OF_AN_ANSWER - len(content))
        except (TimeoutError, aiohttp.ClientError, OSError):
            response.close()
        return content.decode("utf-8", "replace").replace("\x00", "")[:KEPT_OF_AN_ANSWER]


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
