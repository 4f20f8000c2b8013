"""A clock of the web process that a test moves."""

from datetime import UTC, datetime, timedelta


class Clock:
    """The machine's clock, and what it was moved by."""

    def __init__(self) -> None:
        self._moved_by = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self._moved_by

    def advance(self, by: timedelta) -> None:
        self._moved_by += by
