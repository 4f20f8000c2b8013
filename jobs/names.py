"""Closed sets of names that jobs may use, each by its published name. It does not know what they stand for."""

import difflib
from collections.abc import Mapping
from typing import Generic, TypeVar

T = TypeVar("T")


class Names(Generic[T]):
    """What each name stands for; case, spaces and underscores of a name do not matter. Aliases are never hinted at."""

    def __init__(self, meanings: Mapping[str, T], aliases: Mapping[str, T] | None = None) -> None:
        self._published = list(meanings)
        known = {**meanings, **(aliases or {})}
        # Nearly all callers write a name as it is published: the first look finds it without folding.
        self._meanings = known | {folded(name): meaning for name, meaning in known.items()}
        self._by_folded = {folded(name): name for name in meanings}

    def find(self, name: str) -> T | None:
        return self._meanings.get(name) or self._meanings.get(folded(name))

    def hint(self, name: str) -> str:
        """The published names nearest to it, or all."""
        near = difflib.get_close_matches(folded(name), self._by_folded, n=3)
        if not near:
            return f"there are {', '.join(self._published)}"
        return f"did you mean {', '.join(self._by_folded[each] for each in near)}?"


def folded(name: str) -> str:
    return "".join(name.replace("_", " ").casefold().split())
