"""A watch that nobody looks at."""

from collections.abc import Callable, Sequence
from typing import Any


class Unwatched:
    def step_done(self, step: int, steps: int, preview: Callable[[], Sequence[Any]]) -> None: ...

    def note(self, text: str) -> None: ...

    def check(self) -> None: ...
