"""When a job should start and end: from what is before it, who works, how long jobs took, and past errors.

It measures nothing and stores nothing.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from jobs.job import Estimate, QueuePlace, Range
from jobs.need import Need, read_need
from jobs.pool import Pool
from jobs.words import count

# Errors are ratios. This is added to both sides, so that a second more or less is nothing at all to a long wait, and
# half a second instead of none is no infinite error.
SECOND = 1.0
# Short waits err in other ways than long ones, which more who come later overtake.
BOUNDS_S = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
LENGTHS = len(BOUNDS_S) + 1
ENOUGH = 20
# What takes longer than it should is expected to take this share of its time once more.
OVERDUE_SHARE = 0.2
# Of what a job lacks it is told so much: of so many pools, and of each so many things.
MOST_POOLS = 4
MOST_LACKS = 4


@dataclass(frozen=True, slots=True)
class Spread:
    """How long jobs of a kind took, in units of their nominal seconds; see `spread_of`."""

    mean: float
    p50: float
    p90: float
    durations: Sequence[float]

    def left(self, nominal_s: float, ran_s: float) -> Range:
        """How much longer one takes that has taken so long already: as those did that took longer. Where none did
        nobody knows, and it is the more the longer it has taken."""
        left = [each * nominal_s - ran_s for each in self.durations if each * nominal_s > ran_s]
        return Range(quantile(left, 0.5), quantile(left, 0.9)) if left else Range(OVERDUE_SHARE * ran_s, ran_s)


@dataclass(frozen=True, slots=True)
class Wait:
    """One start as it was told at acceptance, and as it came. `raw_s` was told before it was corrected by errors."""

    raw_s: float
    told: Range
    actual_s: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """Of so many starts, which shares came before what was told."""

    starts: int
    before_p50: float
    before_p90: float


class Outlook:
    """`pools` are those that have a worker that is alive, be it paused, and `work_s` is what waits in each line, theirs
    and others'. Of `spreads`, the one of "" is of all kinds. `waits` are the last starts of each length of wait."""

    def __init__(
        self,
        *,
        spreads: Mapping[str, Spread],
        pools: Mapping[str, Pool] = MappingProxyType({}),
        work_s: Mapping[str, float] = MappingProxyType({}),
        waits: Sequence[Wait] = (),
    ) -> None:
        self.pools = pools
        self.work_s = work_s
        self._spreads = spreads
        self._waits = waits
        self._errors = _errors(waits)
        self._able: dict[str, tuple[str, ...]] = {}
        self._missing: dict[Need, tuple[str, ...]] = {}

    @property
    def workers(self) -> int:
        return sum(pool.workers for pool in self.pools.values())

    @property
    def busy_workers(self) -> int:
        return sum(pool.busy_workers for pool in self.pools.values())

    def able(self, need: str) -> tuple[str, ...]:
        """The pools that take jobs, and of which every worker can run what needs this, as `Need` writes it."""
        if need not in self._able:
            asked, taking = read_need(need), (each for each in self.pools.items() if each[1].workers)
            self._able[need] = tuple(name for name, pool in taking if not pool.lacks(asked))
        return self._able[need]

    def missing(self, need: Need) -> tuple[str, ...]:
        """Why no pool can run this, those that are paused included, each in a sentence; nothing where one can."""
        if need not in self._missing:
            self._missing[need] = self._missing_of(need)
        return self._missing[need]

    def _missing_of(self, need: Need) -> tuple[str, ...]:
        if not self.pools:
            return ("no worker that takes jobs is alive",)
        pools = sorted(((pool.lacks(need), name) for name, pool in self.pools.items()), key=lambda each: len(each[0]))
        lacks, nearest = pools[0]
        lacking = [part for part in need.parts() if self.pools[nearest].lacks(part)]
        if all(pool.lacks(part) for part in lacking for pool in self.pools.values()):
            return _some(lacks)
        # Others have what the nearest lacks: who adds that to them may still not have one pool that can run it.
        told = [f"pool {name}: {', '.join(_some(lacks))}" for lacks, name in pools[:MOST_POOLS]]
        if more := len(pools) - len(told):
            told.append(f"nor can {count(more, 'more pool')}")
        return ("no pool of workers can run all of it", *told)

    def calibration(self) -> Calibration:
        number = max(len(self._waits), 1)
        early = sum(wait.actual_s <= wait.told.p50 for wait in self._waits)
        in_time = sum(wait.actual_s <= wait.told.p90 for wait in self._waits)
        return Calibration(len(self._waits), early / number, in_time / number)

    def factor(self, kind: str) -> float:
        """By which the nominal seconds of such jobs are to be multiplied."""
        return self._spread(kind).mean

    def waiting(self, place: QueuePlace, kind: str, cost_s: float) -> Estimate | None:
        """None where nobody knows."""
        raw = self.raw_start_s(place)
        if raw is None:
            return None
        start, length = self.start(raw), self._length(kind, cost_s)
        p50 = start.p50 + length.p50
        ends_in = Range(p50, p50 + math.hypot(start.p90 - start.p50, length.p90 - length.p50))
        return Estimate(starts_in=start, ends_in=ends_in)

    def raw_start_s(self, place: QueuePlace) -> float | None:
        """Not yet corrected by errors. None where no worker of its pool takes jobs, or nobody knows the work before
        it."""
        pool = self.pools.get(place.pool)
        if pool is None or not pool.workers or place.work_before_s is None:
            return None
        return pool.raw_start_s(place.work_before_s, place.ahead_s)

    def running(self, fraction: float, kind: str, cost_s: float, ran_s: float) -> Estimate:
        """Of one that has been running for so long. What its finished part does not account for went into the rest."""
        spread = self._spread(kind)
        nominal_s = cost_s / spread.mean
        at_rest_s = max(ran_s - fraction * nominal_s * spread.p50, 0.0)
        return Estimate(starts_in=None, ends_in=spread.left((1 - fraction) * nominal_s, at_rest_s))

    def start(self, raw_s: float) -> Range:
        """Corrected by what the last starts that were told about the same have come to."""
        p50, p90 = self._errors.get(length_of(raw_s)) or self._errors[None]
        return Range(_moved(raw_s, p50), _moved(raw_s, p90))

    def _length(self, kind: str, cost_s: float) -> Range:
        spread = self._spread(kind)
        return Range(cost_s * spread.p50 / spread.mean, cost_s * spread.p90 / spread.mean)

    def _spread(self, kind: str) -> Spread:
        return self._spreads.get(kind) or self._spreads.get("") or UNMEASURED


def _errors(waits: Iterable[Wait]) -> dict[int | None, tuple[float, float]]:
    """By how much waits of about one length were longer than told, in one of two cases and in nine of ten, where there
    are enough; None stands for all."""
    errors: defaultdict[int | None, list[float]] = defaultdict(list)
    for wait in waits:
        error = math.log((wait.actual_s + SECOND) / (wait.raw_s + SECOND))
        errors[length_of(wait.raw_s)].append(error)
        errors[None].append(error)
    # Until there are enough of them: evenly between half and twice as long as was told.
    lacking = max(ENOUGH - len(errors[None]), 0)
    errors[None] += [math.log(2.0) * ((2 * i + 1) / lacking - 1) for i in range(lacking)]
    return {
        of: (math.exp(quantile(each, 0.5)), math.exp(quantile(each, 0.9)))
        for of, each in errors.items()
        if len(each) >= ENOUGH
    }


def quantile(values: Iterable[float], share: float) -> float:
    """The least of these values that so many of them, and one more to come, are not over."""
    ordered = sorted(values)
    return ordered[min(math.ceil((len(ordered) + 1) * share), len(ordered)) - 1]


def spread_of(durations: Sequence[float]) -> Spread:
    """Of one or more."""
    mean = sum(durations) / len(durations)
    return Spread(mean, quantile(durations, 0.5), quantile(durations, 0.9), durations)


# Of jobs before any was measured.
UNMEASURED = spread_of((0.5, 0.6, 0.7, 0.8, 1.0, 1.1, 1.1, 1.2, 2.0))


def length_of(raw_s: float) -> int:
    """Which of the lengths of waits, from 0, this one is of."""
    return bisect_right(BOUNDS_S, raw_s)


def _some(lacks: Sequence[str]) -> tuple[str, ...]:
    more = len(lacks) - MOST_LACKS
    return (*lacks[:MOST_LACKS], f"{more} more") if more > 0 else tuple(lacks)


def _moved(raw_s: float, factor: float) -> float:
    return max((raw_s + SECOND) * factor - SECOND, 0.0)
