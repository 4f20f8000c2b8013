"""What costs memory, or a connection that waits, and is done for one request of an account at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary

from jobs.errors import Unavailable

TURN_WITHIN_S = 60


class AccountTurns:
    """At most so many at once, of all accounts together."""

    def __init__(self, most: int) -> None:
        self._all = asyncio.Semaphore(most)
        self._own: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, account_id: int) -> AsyncIterator[None]:
        """An account has one at a time: however many it asks for, another's waits behind one of them at most.

        Raises Unavailable in a crowd."""
        own = self._own.setdefault(account_id, asyncio.Lock())
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(TURN_WITHIN_S):
                    await held.enter_async_context(own)
                    await held.enter_async_context(self._all)
            except TimeoutError as error:
                raise Unavailable("Too many pictures are looked at; send it again.") from error
            yield
