"""The events one after the other: a job comes, a worker is free. It decides nothing: the order does."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.simulation.orders import Order
from benchmarks.simulation.traffic import Knobs, SimulatedJob
from jobs.job import Range

# So that the clock of a run is one that Redis's scripts take for a time of day.
EPOCH_S = 1_777_636_800.0


@dataclass(frozen=True, slots=True)
class Start:
    job: SimulatedJob
    waited_s: float
    told: Range | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """`utilisation` is the share of the workers' time, until the last job has ended, in which they were at work.
    `swaps`: how often a worker had another model than its next job."""

    starts: Sequence[Start]
    utilisation: float
    swaps: int


class Run:
    def __init__(self, knobs: Knobs, jobs: Sequence[SimulatedJob]) -> None:
        self._knobs = knobs
        self._jobs = jobs
        self._time = EPOCH_S
        # Arrivals and ends; at one time ends go first.
        self._events: list[tuple[float, int, int, SimulatedJob, float]] = []
        self._loaded: dict[int, int | None] = dict.fromkeys(range(knobs.workers))
        self._idle = list(self._loaded)
        self._told: dict[int, Range | None] = {}
        self._starts: list[Start] = []
        self._busy_s = 0.0
        self._swaps = 0

    def now(self) -> float:
        return self._time

    async def play(self, make: Callable[[Callable[[], float]], Order]) -> Outcome:
        order = make(self.now)
        for worker in self._idle:
            await order.take(worker)  # there is nothing yet: it tells that the worker is there
        for job in self._jobs:
            heapq.heappush(self._events, (EPOCH_S + job.arrives_s, 1, job.id, job, 0.0))
        while self._events:
            self._time, is_arrival, who, job, seconds = heapq.heappop(self._events)
            if is_arrival:
                self._told[job.id] = await order.add(job)
            else:
                await order.end(who, job, seconds)
                self._idle.append(who)
            await self._fill(order)
        span_s = (self._time - EPOCH_S) * self._knobs.workers
        return Outcome(self._starts, self._busy_s / span_s, self._swaps)

    async def _fill(self, order: Order) -> None:
        while self._idle:
            worker = self._idle[0]
            job = await order.take(worker)
            if job is None:
                return
            self._idle.pop(0)
            self._start(worker, job)

    def _start(self, worker: int, job: SimulatedJob) -> None:
        is_swap = self._loaded[worker] != job.model
        self._loaded[worker] = job.model
        self._swaps += is_swap
        seconds = job.lasts_s + self._knobs.swap_s * is_swap
        self._busy_s += seconds
        self._starts.append(Start(job, self._time - EPOCH_S - job.arrives_s, self._told[job.id]))
        heapq.heappush(self._events, (self._time + seconds, 0, worker, job, seconds))
