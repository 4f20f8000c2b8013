"""How much each account has left of its rate, in Redis, so that all web processes count together."""

from typing import Any

from arq.connections import ArqRedis

from jobs.account import Allowance, RateLimit

# The generic cell rate algorithm (ITU-T I.371): one number per bucket, the time at which it is full again.
# Redis's own clock counts, so that web machines need not agree. Times in microseconds, written without exponent.
# KEYS: bucket. ARGV: microseconds per request, burst. Returns whether refused, remaining, microseconds to wait.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1])) or now, now) + interval
local slack = now + interval * burst - full_at
if slack < 0 then return {1, 0, math.ceil(-slack)} end
redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
local remaining = math.floor(slack / interval)
return {0, remaining, math.ceil(interval * (remaining + 1) - slack)}
"""


class RateBuckets:
    def __init__(self, redis: ArqRedis) -> None:
        self._take = redis.register_script(_TAKE)

    async def take(self, account_id: int, limit: RateLimit) -> Allowance:
        """Takes one request from the account's bucket, if there is one."""
        arguments: list[Any] = [repr(1_000_000 / limit.per_s), limit.burst]
        is_refused, remaining, wait_us = await self._take(keys=[f"darkroom:rate:{account_id}"], args=arguments)
        return Allowance(limit=limit, is_refused=bool(is_refused), remaining=remaining, wait_s=wait_us / 1_000_000)
