"""The order of waiting jobs: a sorted set as arq's in Redis for each pool, and what workers are told at once.

It may be emptied at any time; the web processes fill it again. Its scripts decide the order, see docs/decisions/0008.

An arq id is `<job>:<attempt>`, so that nothing that an earlier attempt left behind can block a later one.
"""

import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

import orjson
from redis.asyncio import Redis

from jobs.job import QueuePlace, Range
from jobs.outlook import length_of
from jobs.storage.cancels import tell_canceled
from jobs.storage.job_store import Waiting
from jobs.storage.pauses import PAUSED
from jobs.turn import Turn

# What ends in a colon is the beginning of a name: a pool's follows, or a length of wait.
LINE = "darkroom:pool:line:"
CLOCK = "darkroom:pool:clock:"
ENDS = "darkroom:pool:ends:"
WAKE = "darkroom:pool:wake:"
ENTRIES = "darkroom:waiting"
PROMISES = "darkroom:promises"
WAITS = "darkroom:waits:"
FRESH = "darkroom:pools:fresh"
WORK = "darkroom:pools:work"
FILLED = "darkroom:pools:filled"
FUNCTION = "run_job"
PAGE = 1000
# For so many times the seconds of loading its models a job is put off. From the simulator, see docs/queue.md.
PATIENCE = 4

# A job is claimed and out of the line long before this; should its worker die first, another is given it then.
PICK_LASTS = timedelta(seconds=5)
# Among so many at the head of the line a worker looks for what it has loaded. It is given as many at once at most, and
# of those that should take longer than this only one.
PICK_MOST = 32
PICK_UP_TO = timedelta(milliseconds=50)

Attempt: TypeAlias = tuple[int, int]
"""A job's id, and the number of the attempt."""
Leaving: TypeAlias = Literal["STARTED", "CANCELED", "PASSED"]

MILLISECOND = timedelta(milliseconds=1)

# Of the release before pools: nobody else deletes them.
_FORMER = [
    *("darkroom:line", "darkroom:line:clock", "darkroom:line:ends", "darkroom:line:entries"),
    *("darkroom:line:promises", "darkroom:line:filled", "darkroom:wake", "darkroom:fresh"),
]
_KEYS = [LINE, CLOCK, ENDS, WAKE, ENTRIES, PROMISES, WAITS, FRESH, WORK]


def _script(*names: str) -> str:
    return "".join((Path(__file__).parent / f"{name}.lua").read_text() for name in ("places", *names))


class JobQueue:
    def __init__(self, redis: Redis, now: Callable[[], float] | None = None) -> None:
        """`now`, in seconds since 1970, is for a time that is not the world's. That is Redis's: clocks of machines
        differ."""
        self._redis = redis
        self._now = now
        self._enqueue = redis.register_script(_script("entering", "enqueue"))
        self._leave = redis.register_script(_script("leaving", "leave"))
        self._move = redis.register_script(_script("leaving", "entering", "move"))
        self._look = redis.register_script(_script("look"))
        self._page = redis.register_script(_script("page"))
        self._promise = redis.register_script(_script("promise"))
        self._pick = redis.register_script(_script("pick"))

    async def add(self, jobs: Sequence[Waiting]) -> list[QueuePlace]:
        """Queues what is not queued yet, wakes workers, and gives each job's place. Many are queued page by page: of a
        script each call has at most some thousand arguments."""
        pages = [jobs[first : first + PAGE] for first in range(0, len(jobs), PAGE)]
        return [place for page in pages for place in await self._add(page)]

    async def _add(self, jobs: Sequence[Waiting]) -> list[QueuePlace]:
        entries = [_entry(job) for job in jobs]
        answer = await self._enqueue(keys=_KEYS, args=[orjson.dumps(entries)])
        return [place for place in _places(answer) if place]

    async def places(self, attempts: Iterable[Attempt]) -> list[QueuePlace | None]:
        """Where each coming attempt (job, number) stands; None when it is not in the queue. One call, O(log n) each."""
        ids = [_arq_id(job_id, attempt) for job_id, attempt in attempts]
        pages = [ids[first : first + PAGE] for first in range(0, len(ids), PAGE)]
        return [place for page in pages for place in _places(await self._look(keys=_KEYS, args=page))]

    async def page(self, pool: str, after: int, limit: int) -> list[Waiting]:
        """Of a pool's line those who stand behind the first `after`, in their order."""
        found = await self._page(keys=_KEYS, args=[pool, after, limit])
        return [_waiting(*each) for each in zip(found[::2], found[1::2], strict=True) if each[1]]

    async def move(
        self, pool: str, jobs: Sequence[Attempt], *, to: str, at_least: int = PAGE, up_to_s: float = math.inf
    ) -> int:
        """Brings these out of the line of `pool` into another's, until so many are there and so much work; not those
        that have left it meanwhile, or are being given to a worker. Gives how many moved."""
        up_to = up_to_s / MILLISECOND.total_seconds()
        arguments: list[str | float] = [pool, to, at_least, repr(up_to), *(_arq_id(*each) for each in jobs)]
        moved: int = await self._move(keys=_KEYS, args=arguments)
        return moved

    async def length(self, pool: str | None = None) -> int:
        """How many jobs wait, in one pool or in all."""
        if pool is None:
            return await cast(Awaitable[int], self._redis.hlen(ENTRIES))
        return await cast(Awaitable[int], self._redis.zcard(LINE + pool))

    async def missing(self, attempts: Iterable[Attempt]) -> list[Attempt]:
        """Those that are in no line."""
        asked = list(attempts)
        entries = (
            await cast(Awaitable[list[bytes | None]], self._redis.hmget(ENTRIES, [_arq_id(*each) for each in asked]))
            if asked
            else []
        )
        return [each for each, entry in zip(asked, entries, strict=True) if entry is None]

    async def promise(self, starts: Iterable[tuple[int, float, Range]]) -> None:
        """Remembers what was told of the first starts of these jobs: in how many seconds, before and after it was
        corrected. When they come, both are compared, see `OutlookBoard`."""
        arguments: list[str | int] = [self._now_ms()]
        for job_id, raw_s, told in starts:
            arguments += [
                _arq_id(job_id, 1),
                f"{length_of(raw_s)} {raw_s:.3f} {told.p50:.3f} {told.p90:.3f}",
            ]
        await self._promise(keys=_KEYS, args=arguments)

    async def pick(
        self, worker: str, pool: str, loading_s: Mapping[str, float], otherwise_s: float, *, share: float = 1.0
    ) -> list[Attempt] | None:
        """What this worker is to claim next, and nobody else for a while: one, or several that are short; or nothing.
        None while an operator has paused it, or its pool.

        `loading_s` is how long it takes to load a model, 0 where that is loaded, and `otherwise_s` what others take
        that jobs draw with first: so much, and more, a job is put off for one that needs no loading. `share`: it needs
        that part of the time that was foretold.
        """
        enough = round(PICK_UP_TO / share / MILLISECOND)
        arguments: list[str | int] = [worker, pool, PICK_MOST, enough, PICK_LASTS // MILLISECOND]
        arguments += [repr(PATIENCE * otherwise_s)]
        for model, seconds in loading_s.items():
            arguments += [model, repr(PATIENCE * seconds)]
        picked = await self._pick(keys=[*_KEYS, PAUSED], args=arguments)
        return None if picked == 0 else [_attempt(arq_id) for arq_id in picked]

    async def start(self, *attempts: Attempt) -> None:
        """At the claim, so that the set holds waiting jobs only: their turn has come."""
        await self._leave_line(self._redis, attempts, "STARTED")

    async def remove(self, *attempts: Attempt) -> None:
        """What could not be claimed: it waits for something else than its turn, or not at all."""
        await self._leave_line(self._redis, attempts, "PASSED")

    async def cancel(self, job_id: int, attempt: int) -> None:
        """Takes the attempt after this one out of the order, and tells who is at work on this one (`Cancels`)."""
        pipeline = self._redis.pipeline(transaction=False)
        await self._leave_line(pipeline, [(job_id, attempt + 1)], "CANCELED")
        tell_canceled(pipeline, job_id, attempt)
        await pipeline.execute()

    async def epoch(self) -> str | None:
        """Tells one filling of the queue from another: None after Redis was emptied, other after it restarted."""
        filled = await self._redis.get(FILLED)
        if filled is None:
            return None
        server = await self._redis.info("server")
        return f"{filled.decode()}:{server['run_id']}"

    async def mark_filled(self) -> None:
        await self._redis.delete(*_FORMER)
        # Another may be about to fill it too.
        await self._redis.set(FILLED, repr(time.time()), nx=True)

    async def _leave_line(self, client: Any, attempts: Iterable[Attempt], why: Leaving) -> None:
        if ids := [_arq_id(*attempt) for attempt in attempts]:
            await self._leave(keys=_KEYS, args=[self._now_ms(), why, *ids], client=client)

    def _now_ms(self) -> int | str:
        """ "" is what Redis's clock shows then."""
        return int(self._now() * 1000) if self._now else ""


def _arq_id(job_id: int, attempt: int) -> str:
    return f"{job_id}:{attempt}"


def _attempt(arq_id: bytes) -> Attempt:
    job_id, attempt = arq_id.split(b":")
    return int(job_id), int(attempt)


def _entry(job: Waiting) -> tuple[str, ...]:
    """As `enqueue.lua` takes it."""
    account, share, head_start = job.turn or ("", 0.0, 0.0)
    work = str(_milliseconds(job.cost_s))
    return _arq_id(job.job_id, job.attempt), str(account), repr(share), repr(head_start), work, job.pool, job.need


def _milliseconds(seconds: float) -> int:
    """At least one, so that a line with jobs has work."""
    return max(round(seconds * 1000), 1)


def _waiting(arq_id: bytes, entry: bytes) -> Waiting:
    work, account, share, head_start, pool, need = entry.decode().split(":", 5)
    its_turn = Turn(int(account), float(share), float(head_start)) if account else None
    return Waiting(*_attempt(arq_id), int(work) / 1000, its_turn, need, pool)


def _places(answer: Sequence[Any]) -> list[QueuePlace | None]:
    """Of pools, ranks from 0, lengths, milliseconds of work and of the clock, in turns."""
    return [
        None
        if pool is None
        else QueuePlace(
            pool=pool.decode(), rank=rank + 1, length=length, work_before_s=work / 1000, ahead_s=ahead / 1000
        )
        for pool, rank, length, work, ahead in zip(*(answer[i::5] for i in range(5)), strict=True)
    ]
