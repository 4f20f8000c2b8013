"""Many requests at once share one piece of work: a commit, a query. It knows no work.

Two batches at a time, so that this process need not wait while one is worked on. The next begins when half as many
have come as the last two held, and at most 5 ms after it could: of a crowd that is answered at once, and comes back at
once, one half is worked on by the stores while the other is by this process.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import structlog

from jobs.errors import Unavailable

MAX_BATCH = 500
AT_ONCE = 2
MAX_PENDING = 20_000
GATHER_WITHIN_S = 0.005
BUSY = "Too many requests are coming in, or none can be answered now; send it again."

Item = TypeVar("Item")
Answer = TypeVar("Answer")

log = structlog.get_logger()


@dataclass(slots=True)
class Pending(Generic[Item, Answer]):
    """One request's share of a batch; who has gone needs no answer."""

    item: Item
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    def resolve(self, answer: Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Batcher(Generic[Item, Answer]):
    """`work` answers each of a batch, within `within_s` seconds; what it raises, and what it forgets, fails.

    A batch that is not done in time fails with Unavailable, which says `late`, and so does all that waits behind it.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Pending[Item, Answer]]], Coroutine[Any, Any, None]],
        *,
        within_s: float,
        late: str,
    ) -> None:
        self._work = work
        self._within_s = within_s
        self._late = late
        self._pending: list[Pending[Item, Answer]] = []
        self._sizes = deque([0] * AT_ONCE, maxlen=AT_ONCE)
        self._working: set[asyncio.Task[None]] = set()
        self._abandoned: set[asyncio.Task[None]] = set()
        self._alarm: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def ask(self, item: Item) -> Answer:
        """Raises what `work` says, or Unavailable."""
        if len(self._pending) >= MAX_PENDING or self._is_closed:
            raise Unavailable(BUSY)
        pending: Pending[Item, Answer] = Pending(item)
        self._pending.append(pending)
        self._begin_when_due()
        return await pending.answer

    def close(self) -> None:
        """Drops what is under way: for when no request is being answered any more."""
        self._is_closed = True
        if self._alarm:
            self._alarm.cancel()
        for batch in self._working:
            batch.cancel()
        self._fail_pending()

    def _begin_when_due(self) -> None:
        if not self._has_room():
            return  # the end of a batch asks again
        if len(self._pending) >= sum(self._sizes) // AT_ONCE:
            self._begin()
        elif self._alarm is None:
            loop = asyncio.get_running_loop()
            # What has come by then is let in first, however long this process was at other things.
            self._alarm = loop.call_later(GATHER_WITHIN_S, loop.call_soon, self._begin_early)

    def _begin_early(self) -> None:
        self._alarm = None
        if self._has_room():
            self._begin()

    def _has_room(self) -> bool:
        return bool(self._pending) and len(self._working) < AT_ONCE and not self._is_closed

    def _begin(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
        self._sizes.append(len(batch))
        working = asyncio.create_task(self._work_surely([each for each in batch if not each.answer.done()]))
        self._working.add(working)
        working.add_done_callback(self._end)

    def _end(self, batch: asyncio.Task[None]) -> None:
        self._working.discard(batch)
        self._begin_when_due()

    async def _work_surely(self, batch: Sequence[Pending[Item, Answer]]) -> None:
        # Whatever happens, every request of the batch is answered.
        error: Exception = RuntimeError("a batch left this request without an answer")
        try:
            if batch:
                await self._work_in_time(batch)
        except Exception as raised:
            error = raised
        except asyncio.CancelledError:
            error = Unavailable(self._late)
            raise
        finally:
            for each in batch:
                each.fail(error)

    async def _work_in_time(self, batch: Sequence[Pending[Item, Answer]]) -> None:
        work = asyncio.create_task(self._work(batch))
        try:
            done, _ = await asyncio.wait({work}, timeout=self._within_s)
        finally:
            work.cancel()
        if done:
            return work.result()
        # Not awaited: a database that has fallen silent also keeps the end of a statement waiting.
        self._abandoned.add(work)
        work.add_done_callback(self._abandoned.discard)
        log.error("batch_not_done_in_time", requests=len(batch), waiting=len(self._pending))
        self._fail_pending()
        raise Unavailable(self._late)

    def _fail_pending(self) -> None:
        for each in self._pending:
            each.fail(Unavailable(BUSY))
        self._pending = []
