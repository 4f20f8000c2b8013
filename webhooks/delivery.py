"""One try of one callback: render, sign, post, judge. It does not decide when to try again."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp
import orjson

from jobs.dialects.tams_response import job_body
from jobs.job import JobStatus, JobView
from jobs.links import Links
from jobs.storage.delivery_store import Delivery
from jobs.storage.job_store import JobStore
from webhooks.guard import AddressRefused, Network, check_literal
from webhooks.signature import signed_headers

TOTAL_S = 30
CONNECT_S = 10
KEPT_OF_AN_ANSWER = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`error` None means delivered. `status` is None where no answer came."""

    status: int | None
    error: str | None = None
    may_retry: bool = True


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
        try:
            check_literal(delivery.url, self._allowed)
            return await self._post(delivery, body)
        except AddressRefused as error:
            return Verdict(status=None, error=error.message, may_retry=False)
        except TimeoutError:
            return Verdict(status=None, error=f"no answer within {TOTAL_S} s")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Verdict(status=None, error=f"{type(error).__name__}: {error}"[:KEPT_OF_AN_ANSWER])

    async def _body(self, delivery: Delivery) -> bytes:
        # Rendered now and not when it was queued: after a day of retries its links still work.
        job = await self._jobs.get_any(delivery.job_id)
        if delivery.kind == "RUNNING" and job.status != JobStatus.RUNNING:
            raise Superseded
        return orjson.dumps(job_body(JobView(job=job), self._links))

    async def _post(self, delivery: Delivery, body: bytes) -> Verdict:
        headers = signed_headers(delivery.webhook_secret, f"msg_{delivery.id.hex}", self._now(), body)
        headers["Content-Type"] = "application/json"
        async with (
            asyncio.timeout(TOTAL_S),
            self._session.post(delivery.url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            if 200 <= response.status < 300:
                return Verdict(status=response.status)
            text = (await response.content.read(KEPT_OF_AN_ANSWER)).decode("utf-8", "replace").replace("\x00", "")
        return Verdict(status=response.status, error=f"answered {response.status}: {text}")
