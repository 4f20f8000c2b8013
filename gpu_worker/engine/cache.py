"""Loaded models, least recently used first out. It loads nothing itself."""

from collections import OrderedDict
from collections.abc import Callable, Collection
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

    @property
    def size_bytes(self) -> int:
        return sum(model.size_bytes for model in self._by_id.values())

    def __contains__(self, model_id: str) -> bool:
        return model_id in self._by_id

    def get(self, model_id: str, load: Callable[[], T]) -> T:
        """The model of this id, by `load` if it is not here; others go to make room."""
        if model_id not in self._by_id:
            self._by_id[model_id] = load()
        self._by_id.move_to_end(model_id)
        while self.size_bytes > self._max_bytes and len(self._by_id) > 1:
            self._by_id.popitem(last=False)
        return cast(T, self._by_id[model_id])

    def keep_only(self, model_ids: Collection[str | None]) -> None:
        """Puts all others out."""
        for model_id in [each for each in self._by_id if each not in model_ids]:
            del self._by_id[model_id]
