"""When a job should start and end: from what is before it, who works, how long jobs took, and past errors.

It measures nothing and stores nothing.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from jobs.job import Estimate, Range

# Errors are ratios. This is added to both sides, so that a second more or less is nothing at all to a long wait, and
# half a second instead of none is no infinite error.
SECOND = 1.0
# Short waits err in other ways than long ones, which more who come later overtake.
BOUNDS_S = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0)
LENGTHS = len(BOUNDS_S) + 1
ENOUGH = 20
# The share of the workers that those who come later are taken to have at most.
MOST_OVERTAKEN = 0.8


@dataclass(frozen=True, slots=True)
class Spread:
    """How long jobs of a kind took, in units of their nominal seconds."""

    mean: float
    p50: float
    p90: float


UNMEASURED = Spread(mean=1.0, p50=1.0, p90=2.0)


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
    """`fresh_per_s` is the work that comes in a second and stands at the front at once. `free_in_s` has an entry for
    each worker that is alive: 0 where it has nothing to do. Of `spreads`, the one of "" is of all kinds. `waits` are
    the last starts of each length of wait."""

    def __init__(
        self,
        *,
        spreads: Mapping[str, Spread],
        free_in_s: Iterable[float] = (),
        waits: Sequence[Wait] = (),
        fresh_per_s: float = 0.0,
    ) -> None:
        self._spreads = spreads
        self._free = sorted(free_in_s)
        self._sums = [0.0, *accumulate(self._free)]
        # The work after which all workers up to this one are at it.
        self._filled = [free * i - self._sums[i] for i, free in enumerate(self._free)]
        self._waits = waits
        self._fresh_per_s = fresh_per_s
        self._errors = _errors(waits)

    @property
    def workers(self) -> int:
        return len(self._free)

    @property
    def busy_workers(self) -> int:
        return sum(free > 0 for free in self._free)

    def calibration(self) -> Calibration:
        number = max(len(self._waits), 1)
        early = sum(wait.actual_s <= wait.told.p50 for wait in self._waits)
        in_time = sum(wait.actual_s <= wait.told.p90 for wait in self._waits)
        return Calibration(len(self._waits), early / number, in_time / number)

    def factor(self, kind: str) -> float:
        """By which the nominal seconds of such jobs are to be multiplied."""
        return self._spread(kind).mean

    def waiting(self, work_before_s: float, ahead_s: float, kind: str, cost_s: float) -> Estimate | None:
        """None where no worker is alive."""
        raw = self.raw_start_s(work_before_s, ahead_s)
        if raw is None:
            return None
        start, length = self.start(raw), self._length(kind, cost_s)
        p50 = start.p50 + length.p50
        ends_in = Range(p50, p50 + math.hypot(start.p90 - start.p50, length.p90 - length.p50))
        return Estimate(starts_in=start, ends_in=ends_in)

    def running(self, fraction: float, kind: str, cost_s: float) -> Estimate:
        length = self._length(kind, cost_s * (1 - fraction))
        return Estimate(starts_in=None, ends_in=length)

    def raw_start_s(self, work_before_s: float, ahead_s: float = 0.0) -> float | None:
        """When the workers have done this much besides what they are at, if each takes the next job when it is free.

        Where the job's account is ahead of the clock, what comes fresh until then is done before it.
        """
        if not self._free:
            return None
        at_work = bisect_right(self._filled, work_before_s)
        start_s = (work_before_s + self._sums[at_work]) / at_work
        return start_s if ahead_s < SECOND else start_s / (1 - min(self._fresh_per_s / self.workers, MOST_OVERTAKEN))

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


def length_of(raw_s: float) -> int:
    """Which of the lengths of waits, from 0, this one is of."""
    return bisect_right(BOUNDS_S, raw_s)


def _moved(raw_s: float, factor: float) -> float:
    return max((raw_s + SECOND) * factor - SECOND, 0.0)
