"""One try of one callback: render, sign, post, judge. It does not decide when to try again."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import aiohttp
import orjson

from jobs.dialects.tams_response import job_body
from jobs.job import JobStatus, JobView
from jobs.links import Links
from jobs.storage.delivery_store import Attempt, Delivery
from jobs.storage.job_store import JobStore
from webhooks.guard import AddressRefused, Network, check_literal
from webhooks.signature import signed_headers

TOTAL_S = 30
CONNECT_S = 10
KEPT_OF_AN_ANSWER = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    attempt: Attempt
    may_retry: bool = True

    @property
    def is_delivered(self) -> bool:
        return self.attempt.error is None


class Superseded(Exception):
    """The job has moved on: its end is told by another callback."""


class Courier:
    def __init__(
        self,
        session: aiohttp.ClientSession,
        jobs: JobStore,
        links: Links,
        *,
        allowed: Sequence[Network],
        now: Callable[[], datetime],
    ) -> None:
        self._session = session
        self._jobs = jobs
        self._links = links
        self._allowed = allowed
        self._now = now

    async def try_once(self, delivery: Delivery) -> Verdict:
        """Never raises for what the receiver does. Raises Superseded, and what the database raises."""
        body = await self._body(delivery)
        began, may_retry, status = perf_counter(), True, None
        try:
            check_literal(delivery.url, self._allowed)
            status, error = await self._post(delivery, body)
        except AddressRefused as refusal:
            error, may_retry = refusal.message, False
        except TimeoutError:
            error = f"no answer within {TOTAL_S} s"
        except (aiohttp.ClientError, OSError, ValueError) as failure:
            error = f"{type(failure).__name__}: {failure}"[:KEPT_OF_AN_ANSWER]
        return Verdict(attempt=Attempt(seconds=perf_counter() - began, status=status, error=error), may_retry=may_retry)

    async def _body(self, delivery: Delivery) -> bytes:
        # Rendered now and not when it was queued: after a day of retries its links still work.
        job = await self._jobs.get_any(delivery.job_id)
        if delivery.kind == "RUNNING" and job.status != JobStatus.RUNNING:
            raise Superseded
        return orjson.dumps(job_body(JobView(job=job), self._links))

    async def _post(self, delivery: Delivery, body: bytes) -> tuple[int, str | None]:
        headers = signed_headers(delivery.webhook_secret, f"msg_{delivery.id.hex}", self._now(), body)
        headers["Content-Type"] = "application/json"
        async with (
            asyncio.timeout(TOTAL_S),
            self._session.post(delivery.url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            if 200 <= response.status < 300:
                return response.status, None
            text = (await response.content.read(KEPT_OF_AN_ANSWER)).decode("utf-8", "replace").replace("\x00", "")
        return response.status, f"answered {response.status}: {text}"
