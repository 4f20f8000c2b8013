"""Closed sets of names that jobs may use, each by its published name, and how an error tells names.

It does not know what they stand for.
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from jobs.words import are

T = TypeVar("T")

MAX_SUGGESTED = 3
# What is shorter is part of too many names.
MIN_PART = 3


class Names(Generic[T]):
    """What each name stands for; case, spaces and underscores of a name do not matter. `aliases` have the name that
    each stands for: where one is near, that is suggested."""

    def __init__(self, meanings: Mapping[str, T], aliases: Mapping[str, str] | None = None) -> None:
        self._published = tuple(meanings)
        self._aliases = aliases or {}
        known = {**meanings, **{alias: meanings[name] for alias, name in self._aliases.items()}}
        # Nearly all callers write a name as it is published: the first look finds it without folding.
        self._meanings = known | {folded(name): meaning for name, meaning in known.items()}

    def find(self, name: str) -> T | None:
        return self._meanings.get(name) or self._meanings.get(folded(name))

    def hint(self, name: str) -> str:
        return hint(name, self._published, self._aliases)


def hint(name: str, names: Sequence[str], aliases: Mapping[str, str] | None = None) -> str:
    """The names nearest to it, or all."""
    return did_you_mean(name, names, aliases) or there_are(names)


def did_you_mean(name: str, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> str:
    """The names nearest to it; empty where none is near."""
    near = nearest(name, names, aliases)
    return f"did you mean {quoted(near, 'or')}?" if near else ""


def nearest(name: str, names: Iterable[str], aliases: Mapping[str, str] | None = None) -> list[str]:
    """Those that are spelled alike, then those that it is a part of, or that are one of it."""
    asked = folded(name)
    spelled = {folded(each): meant for each, meant in (*(aliases or {}).items(), *((each, each) for each in names))}
    alike = difflib.get_close_matches(asked, spelled, n=MAX_SUGGESTED)
    parts = sorted((each for each in spelled if _is_part(each, asked)), key=lambda each: abs(len(each) - len(asked)))
    return [*dict.fromkeys(spelled[each] for each in (*alike, *parts))][:MAX_SUGGESTED]


def there_are(names: Sequence[str]) -> str:
    return f"there {are(len(names))} {quoted(names)}"


def quoted(names: Iterable[str], last: str = "and") -> str:
    """'a', 'b' and 'c'. A name that is also a word, as 'none' is, would be read as one."""
    told = [f"'{name}'" for name in names]
    return f" {last} ".join(filter(None, [", ".join(told[:-1]), *told[-1:]]))


def _is_part(name: str, asked: str) -> bool:
    return min(len(name), len(asked)) >= MIN_PART and (name in asked or asked in name)


def folded(name: str) -> str:
    return "".join(name.replace("_", " ").casefold().split())
