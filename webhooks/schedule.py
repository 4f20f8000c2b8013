"""When a callback that failed is tried again. It knows no clock."""

from collections.abc import Callable, Sequence
from datetime import timedelta

JITTER = 0.2


def delay_after(tries: int, delays_s: Sequence[float], random: Callable[[], float]) -> timedelta | None:
    """The wait after the `tries`-th failure (from 1), and up to a fifth more; None when there is no further try.

    `random` gives numbers in [0, 1): jitter keeps the callbacks of one outage from returning all at once.
    """
    if tries > len(delays_s):
        return None
    return timedelta(seconds=delays_s[tries - 1] * (1 + JITTER * random()))
