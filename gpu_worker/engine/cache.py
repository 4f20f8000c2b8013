"""Loaded models, least recently used first out. It loads nothing itself."""

from collections import OrderedDict
from collections.abc import Callable, Collection
from time import perf_counter
from typing import Protocol, TypeVar, cast


class Loaded(Protocol):
    @property
    def size_bytes(self) -> int: ...


T = TypeVar("T", bound=Loaded)


class ModelCache:
    """Holds models of at most `max_bytes` together, or one alone that is larger.

    A model that somebody still holds stays in memory after it was put out.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._by_id: OrderedDict[str, Loaded] = OrderedDict()
        self._loading_s: dict[str, float] = {}

    @property
    def size_bytes(self) -> int:
        return sum(model.size_bytes for model in self._by_id.values())

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._by_id

    def loading_s(self) -> dict[str, float]:
        """In how many seconds what was ever here was loaded; 0 for what is here now. From any thread."""
        return self._loading_s.copy() | dict.fromkeys(self._by_id.copy(), 0.0)

    def get(self, model_id: str, load: Callable[[], T]) -> T:
        """The model of this id, by `load` if it is not here; others go to make room."""
        if model_id not in self._by_id:
            began = perf_counter()
            self._by_id[model_id] = load()
            self._loading_s[model_id] = perf_counter() - began
        self._by_id.move_to_end(model_id)
        while self.size_bytes > self._max_bytes and len(self._by_id) > 1:
            self._by_id.popitem(last=False)
        return cast(T, self._by_id[model_id])

    def keep_only(self, model_ids: Collection[str | None]) -> None:
        """Puts all others out."""
        for model_id in [each for each in self._by_id if each not in model_ids]:
            del self._by_id[model_id]
