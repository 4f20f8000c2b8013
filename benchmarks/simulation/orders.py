"""Who is next: what is compared. Only the last one is Darkroom's, through the same class and scripts as in service."""

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from arq.connections import ArqRedis

from benchmarks.simulation.traffic import SimulatedJob
from jobs.ability import Ability
from jobs.job import Range
from jobs.need import Need
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import Waiting
from jobs.storage.outlook_board import OutlookBoard
from jobs.turn import turn

KIND = "simulated"
POOL = "simulated"
ABILITY = Ability(frozenset(), {})
LOOK_EVERY_S = 1.0


class Order(Protocol):
    async def add(self, job: SimulatedJob) -> Range | None:
        """Gives what the job is told of its start, if it is told anything."""

    async def take(self, worker: int) -> SimulatedJob | None:
        """The next, for a worker that is free."""

    async def end(self, worker: int, job: SimulatedJob, seconds: float) -> None: ...


@dataclass
class Sorted:
    """By a key, and by arrival where it is the same."""

    key: Callable[[SimulatedJob], float]
    _heap: list[tuple[float, int, SimulatedJob]] = field(default_factory=list)

    async def add(self, job: SimulatedJob) -> None:
        heapq.heappush(self._heap, (self.key(job), job.id, job))

    async def take(self, worker: int) -> SimulatedJob | None:
        return heapq.heappop(self._heap)[2] if self._heap else None

    async def end(self, worker: int, job: SimulatedJob, seconds: float) -> None: ...


@dataclass
class RoundRobin:
    """A job of each account that has one, in turns."""

    _lines: dict[str, deque[SimulatedJob]] = field(default_factory=dict)

    async def add(self, job: SimulatedJob) -> None:
        self._lines.setdefault(job.account, deque()).append(job)

    async def take(self, worker: int) -> SimulatedJob | None:
        if not self._lines:
            return None
        account = next(iter(self._lines))
        line = self._lines.pop(account)
        job = line.popleft()
        if line:
            self._lines[account] = line  # behind all others
        return job

    async def end(self, worker: int, job: SimulatedJob, seconds: float) -> None: ...


class Darkroom:
    """`swap_s` is what a worker counts for loading a model; 0 is for one that does not care."""

    def __init__(self, redis: ArqRedis, now: Callable[[], float], *, swap_s: float) -> None:
        self._redis = redis
        self._now = now
        self._swap_s = swap_s
        self._loaded: dict[int, str] = {}
        self._queue = JobQueue(redis, now)
        self._board = OutlookBoard(redis, now)
        self._waiting: dict[int, SimulatedJob] = {}
        self._accounts: dict[str, int] = {}
        self._at_work: dict[int, tuple[float, float]] = {}
        self._looked = 0.0

    async def add(self, job: SimulatedJob) -> Range | None:
        await self._look()
        account = self._accounts.setdefault(job.account, len(self._accounts) + 1)
        cost_s = job.cost_s * self._outlook.factor(KIND)
        its_turn = turn(account, cost_s=cost_s, weight=1.0, priority=job.priority)
        self._waiting[job.id] = job
        (place,) = await self._queue.add([Waiting(job.id, 1, cost_s, its_turn, str(Need((str(job.model),), ())), POOL)])
        raw_s = self._outlook.raw_start_s(place)
        if raw_s is None:
            return None
        told = self._outlook.start(raw_s)
        await self._queue.promise([(job.id, raw_s, told)])
        return told

    async def take(self, worker: int) -> SimulatedJob | None:
        self._at_work.setdefault(worker, (0.0, 0.0))
        best = await self._queue.pick(str(worker), POOL, {self._loaded.get(worker, ""): 0.0}, self._swap_s)
        if not best:
            return None
        ((job_id, _),) = best
        job = self._waiting.pop(job_id)
        self._loaded[worker] = str(job.model)
        await self._queue.start((job.id, 1))
        self._at_work[worker] = (self._now(), job.cost_s * self._outlook.factor(KIND))
        return job

    async def end(self, worker: int, job: SimulatedJob, seconds: float) -> None:
        self._at_work[worker] = (0.0, 0.0)
        await self._board.measured((KIND, seconds / job.cost_s))

    async def _look(self) -> None:
        """As old as the web process's own look may be."""
        if self._now() < self._looked + LOOK_EVERY_S:
            return
        self._looked = self._now()
        for worker, (began, cost_s) in self._at_work.items():
            busy_s = self._now() - began if began else None
            await self._board.tell(str(worker), pool=POOL, ability=ABILITY, busy_s=busy_s, cost_s=cost_s)
        self._outlook = await self._board.read()
