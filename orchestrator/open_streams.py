"""How many event streams are open, in all and of each account: a stream costs as long as it lasts."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from jobs.errors import TooManyStreams, Unavailable


class OpenStreams:
    """Counts those of this process."""

    def __init__(self, most: int, most_per_account: int) -> None:
        self._most = most
        self._most_per_account = most_per_account
        self._open: Counter[int] = Counter()

    @contextmanager
    def one_more(self, account_id: int) -> Iterator[None]:
        """Raises TooManyStreams where the account has its share, and Unavailable where the process has."""
        if self._open[account_id] >= self._most_per_account:
            raise TooManyStreams(
                f"This account listens to {self._most_per_account} event streams already, which is as many as it may: "
                "close one, or ask for the job itself."
            )
        if self._open.total() >= self._most:
            raise Unavailable("This server has as many event streams as it can keep: ask for the job itself.")
        self._open[account_id] += 1
        try:
            yield
        finally:
            self._open -= Counter([account_id])  # drops the account with its last stream
