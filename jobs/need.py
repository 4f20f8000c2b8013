"""What a job asks of a worker: the models that it draws with, and the kinds of its stages. It knows no worker."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from jobs.stages import Stage


class Need(NamedTuple):
    """`models` are catalogue ids, first the one that it draws with first; `stages` are types. Neither has any twice."""

    models: tuple[str, ...]
    stages: tuple[str, ...]

    def parts(self) -> tuple["Need", ...]:
        """Each stage and each model as a need of its own."""
        stages = (Need((), (stage,)) for stage in self.stages)
        return (*stages, *(Need((model,), ()) for model in self.models))

    def __str__(self) -> str:
        """As the queue and PostgreSQL keep it."""
        return f"{' '.join(self.models)}|{' '.join(self.stages)}"


def need_of(stages: Sequence[Stage]) -> Need:
    models = dict.fromkeys([model for stage in stages for model in stage.models])
    return Need(tuple(models), tuple(dict.fromkeys([stage.type for stage in stages])))


@lru_cache(maxsize=1024)
def read_need(text: str) -> Need:
    """Of what `str` made."""
    models, _, stages = text.partition("|")
    return Need(tuple(models.split()), tuple(stages.split()))
