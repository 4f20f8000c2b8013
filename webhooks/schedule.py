"""When a callback that failed is tried again. It knows no clock."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

JITTER = 0.2
# Who is asked too much, or does not get to answer, needs more time than who answers that it is broken.
BUSY_WAIT = timedelta(minutes=1)
LONGEST_WAIT = timedelta(hours=12)
TOO_MANY_REQUESTS, GONE = 429, 410


def delay_after(
    tries: int, delays_s: Sequence[float], random: Callable[[], float], at_least: timedelta = timedelta(0)
) -> timedelta | None:
    """The wait after the `tries`-th failure (from 1), and up to a fifth more; None when there is no further try.

    `random` gives numbers in [0, 1): jitter keeps the callbacks of one outage from returning all at once.
    """
    if tries > len(delays_s):
        return None
    return max(timedelta(seconds=delays_s[tries - 1]), at_least) * (1 + JITTER * random())


def wait_asked_for(status: int | None, retry_after: str | None, now: datetime) -> timedelta:
    """The least wait that an answer asks for, by Retry-After within bounds and by its status; None stands for no
    answer in time."""
    asked = min(max(_read(retry_after or "", now), timedelta(0)), LONGEST_WAIT)
    return max(asked, BUSY_WAIT) if status in (None, TOO_MANY_REQUESTS) else asked


def _read(retry_after: str, now: datetime) -> timedelta:
    """Seconds or a date. Source: RFC 9110, section 10.2.3. What is neither asks for nothing."""
    if retry_after.isascii() and retry_after.isdecimal():
        return timedelta(seconds=int(retry_after[:9]))
    try:
        date = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):
        return timedelta(0)
    return (date if date.tzinfo else date.replace(tzinfo=UTC)) - now
