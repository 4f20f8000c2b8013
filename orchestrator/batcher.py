"""Many requests at once share one piece of work: a commit, a query. It knows no work.

One batch at a time: while it is worked on the next one gathers. A batch begins when half as many have come as the last
one held, or 2 ms after the first: so a lone request waits for nothing, and of a crowd that is answered at once, and
comes back at once, one half is worked on while the other is parsed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from jobs.errors import Unavailable

MAX_BATCH = 500
MAX_PENDING = 20_000
GATHER_WITHIN_S = 0.002

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
    """`work` answers each of a batch, within a deadline of its own; what it raises, and what it forgets, fails."""

    def __init__(self, work: Callable[[Sequence[Pending[Item, Answer]]], Awaitable[None]]) -> None:
        self._work = work
        self._pending: list[Pending[Item, Answer]] = []
        self._expected = 0
        self._working: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None

    async def ask(self, item: Item) -> Answer:
        """Raises what `work` says, or Unavailable where too many wait."""
        if len(self._pending) >= MAX_PENDING:
            raise Unavailable("Too many requests are coming in; send it again.")
        pending: Pending[Item, Answer] = Pending(item)
        self._pending.append(pending)
        self._begin_when_due()
        return await pending.answer

    def close(self) -> None:
        """For when no request is being answered any more: what is under way is dropped."""
        if self._alarm:
            self._alarm.cancel()
        if self._working:
            self._working.remove_done_callback(self._end)
            self._working.cancel()

    def _begin_when_due(self) -> None:
        if self._working or not self._pending:
            return  # the end of that batch asks again
        if len(self._pending) >= self._expected:
            self._begin()
        elif self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(GATHER_WITHIN_S, self._begin)

    def _begin(self) -> None:
        if self._alarm:
            self._alarm.cancel()
            self._alarm = None
        batch, self._pending = self._pending[:MAX_BATCH], self._pending[MAX_BATCH:]
        self._expected = len(batch) // 2
        self._working = asyncio.create_task(self._work_surely([each for each in batch if not each.answer.done()]))
        self._working.add_done_callback(self._end)

    def _end(self, _work: asyncio.Task[None]) -> None:
        self._working = None
        self._begin_when_due()

    async def _work_surely(self, batch: Sequence[Pending[Item, Answer]]) -> None:
        # Whatever happens, every request of the batch is answered.
        error: Exception = RuntimeError("a batch left this request without an answer")
        try:
            if batch:
                await self._work(batch)
        except Exception as raised:
            error = raised
        for each in batch:
            each.fail(error)
