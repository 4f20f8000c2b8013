"""Workers that serve one line: what all of them can run, and when they are free. It knows no job.

A pool is what its workers say they belong to. Those that say nothing belong with all that can do the same as they.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate

from jobs.ability import Ability
from jobs.need import Need

NOBODY = "(nobody)"
"""The pool of jobs that no worker can run. It never has one: no worker's pool may be called so."""

# Nobody whose work is a second ahead of the clock is before those that come fresh.
AHEAD_S = 1.0
# The share of the workers that those who come later are taken to have at most.
MOST_OVERTAKEN = 0.8


class Pool:
    """`free_in_s` has an entry for each worker that takes jobs: 0 where it has nothing to do. `paused` is how many more
    are alive, which an operator lets take none. `abilities` has each of theirs once; of the paused only where all are.
    `fresh_per_s` is the work that comes in a second and stands at the front at once."""

    def __init__(
        self,
        *,
        free_in_s: Iterable[float] = (),
        paused: int = 0,
        abilities: Sequence[Ability] = (),
        fresh_per_s: float = 0.0,
    ) -> None:
        self._free = sorted(free_in_s)
        self._sums = [0.0, *accumulate(self._free)]
        # The work after which all workers up to this one are at it.
        self._filled = [free * i - self._sums[i] for i, free in enumerate(self._free)]
        self.paused = paused
        self.abilities = abilities
        self._fresh_per_s = fresh_per_s

    @property
    def workers(self) -> int:
        """That take jobs."""
        return len(self._free)

    @property
    def busy_workers(self) -> int:
        return sum(free > 0 for free in self._free)

    def lacks(self, need: Need) -> tuple[str, ...]:
        """What one of its workers cannot do, each in a sentence."""
        return tuple(dict.fromkeys(each for part in need.parts() for each in self._lacks_of(part)))

    def _lacks_of(self, part: Need) -> Iterable[str]:
        lacks = [ability.lacks(part) for ability in self.abilities]
        told = (each for of_one in lacks for each in of_one)
        return told if all(lacks) else (f"some workers of its pool cannot run it: {each}" for each in told)

    def raw_start_s(self, work_before_s: float, ahead_s: float = 0.0) -> float:
        """When its workers, of which it has one, have done this much besides what they are at, if each takes the next
        job when it is free.

        Where the job's account is ahead of the clock, what comes fresh until then is done before it.
        """
        at_work = bisect_right(self._filled, work_before_s)
        start_s = (work_before_s + self._sums[at_work]) / at_work
        overtaken = min(self._fresh_per_s / self.workers, MOST_OVERTAKEN)
        return start_s if ahead_s < AHEAD_S else start_s / (1 - overtaken)
