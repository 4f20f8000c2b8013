"""The order of waiting jobs as one number, lower first. It does not sort: the queue does."""

from datetime import datetime, timedelta

# arq defers a job whose score is later than the worker's clock. A day of margin means that clocks
# that differ between machines never hold a job back.
CLOCK_MARGIN = timedelta(days=1)

HEAD_START_PER_PRIORITY = timedelta(seconds=60)


def score(accepted_at: datetime, priority: int) -> float:
    """Milliseconds since 1970 at which the job counts as having come, with microseconds as fraction.

    Priority is a head start and not a rank, so that no job waits for ever.
    """
    counted = accepted_at - CLOCK_MARGIN - priority * HEAD_START_PER_PRIORITY
    return counted.timestamp() * 1000
