"""Waits for what other processes do."""

import time
from collections.abc import Callable

LONGEST_S = 600


def until(is_so: Callable[[], bool]) -> float:
    """The moment at which it came to be so, in `time.monotonic` seconds."""
    deadline = time.monotonic() + LONGEST_S
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"it did not come to be so within {LONGEST_S} s")
        time.sleep(0.01)
    return time.monotonic()
