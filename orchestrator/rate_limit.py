"""Rates of accounts: who is over his limit is refused, and every answer says what is left.

Accounts without a limit cost nothing here. One call to Redis for the others; while it is away, all are served.
"""

import asyncio
import math
import time

import structlog
from aiohttp import web
from redis.exceptions import RedisError

from jobs.account import Account, Allowance, RateLimit
from jobs.errors import RateLimited
from jobs.storage.rate_buckets import RateBuckets
from jobs.words import count

TAKE_WITHIN_S = 0.25
# A Redis that hangs must not make every request wait for it.
ASK_AGAIN_AFTER_S = 1

ALLOWANCE = web.RequestKey("allowance", Allowance)

log = structlog.get_logger()


class RateLimiter:
    def __init__(self, buckets: RateBuckets) -> None:
        self._buckets = buckets
        self._ask_again_at = 0.0
        self._is_away = False

    async def admit(self, request: web.Request, account: Account) -> None:
        """Raises RateLimited. Notes what is left for `tell_allowance`."""
        allowance = await self._take(account.id, account.rate_limit) if account.rate_limit else None
        if allowance is None:
            return
        request[ALLOWANCE] = allowance
        if allowance.is_refused:
            limit = allowance.limit
            message = f"This account may send {count(limit.per_s, 'request')} a second, {limit.burst} at once."
            raise RateLimited(message, allowance.wait_s)

    async def _take(self, account_id: int, limit: RateLimit) -> Allowance | None:
        if time.monotonic() < self._ask_again_at:
            return None
        try:
            async with asyncio.timeout(TAKE_WITHIN_S):
                allowance = await self._buckets.take(account_id, limit)
        except (RedisError, OSError) as error:
            self._note_away(error)
            return None
        self._note_back()
        return allowance

    def _note_away(self, error: Exception) -> None:
        self._ask_again_at = time.monotonic() + ASK_AGAIN_AFTER_S
        if not self._is_away:
            self._is_away = True
            log.error("rates_not_limited", error=repr(error))

    def _note_back(self) -> None:
        if self._is_away:
            self._is_away = False
            log.info("rates_limited_again")


def tell_allowance(request: web.Request, response: web.StreamResponse) -> None:
    """Of refusals too. Requests of accounts without a limit say nothing."""
    # Of most there is nothing at all; to look for it takes an exception.
    if len(request) and ALLOWANCE in request:
        response.headers.update(_headers(request[ALLOWANCE]))


def _headers(allowance: Allowance) -> dict[str, str]:
    """draft-ietf-httpapi-ratelimit-headers-10, and the three fields of its early drafts, which more clients read."""
    limit, wait_s = allowance.limit, math.ceil(allowance.wait_s)
    full_after_s = max(1, math.ceil(limit.burst / limit.per_s))
    return {
        "RateLimit-Policy": f'"account";q={limit.burst};w={full_after_s}',
        "RateLimit": f'"account";r={allowance.remaining};t={wait_s}',
        "RateLimit-Limit": str(limit.burst),
        "RateLimit-Remaining": str(allowance.remaining),
        "RateLimit-Reset": str(wait_s),
    }
