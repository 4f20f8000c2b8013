"""Nonces that signed requests have used, in Redis. It does not say whether a signature is right.

Emptying Redis forgets them: a request that was overheard could then be sent once more while its timestamp holds.
"""

import secrets
from datetime import timedelta

from arq.connections import ArqRedis


class Nonces:
    def __init__(self, redis: ArqRedis) -> None:
        self._redis = redis

    async def use(self, app_id: str, nonce: str, life: timedelta) -> bool:
        """Whether this app uses it for the first time within `life`. Of many at once one is the first."""
        key, ours = f"darkroom:nonce:{app_id}:{nonce}", secrets.token_bytes(16)
        if await self._redis.set(key, ours, nx=True, px=life):
            return True
        # The client of Redis sends a command again whose answer was lost: then we were the first ourselves.
        return bool(await self._redis.get(key) == ours)
