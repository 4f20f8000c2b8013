"""What decides when a waiting job's turn comes: fair shares between accounts. It does not sort: the queue does.

The line runs on a clock of its own, in virtual seconds. An account's jobs follow each other on it at the distance of
their shares; `jobs/storage/enqueue.lua` gives each its place. See docs/decisions/0008.
"""

from typing import NamedTuple

# In virtual seconds, which is what a worker second is to an account of weight 1.
HEAD_START_PER_PRIORITY = 60.0


class Turn(NamedTuple):
    """`share` is how far the account's next job stands behind this one; `head_start` how far this one is let before
    where it would stand. Both are virtual seconds."""

    account_id: int
    share: float
    head_start: float = 0.0


def turn(account_id: int, *, cost_s: float, weight: float, priority: int) -> Turn:
    """Of a job that should take a worker `cost_s` seconds. Twice the weight is twice as many jobs in the same time.

    Priority is a head start and not a rank, so that no job waits for ever.
    """
    return Turn(account_id, cost_s / weight, priority * HEAD_START_PER_PRIORITY)
