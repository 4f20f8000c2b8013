"""What a worker can run, as it tells of itself. It looks at no file and no device: the worker does."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from jobs.need import Need


@dataclass(frozen=True)
class Ability:
    """`stages` are types. `models` are catalogue ids, each with the reason why the worker cannot draw with it, and ""
    where it can."""

    stages: frozenset[str]
    models: Mapping[str, str]

    def lacks(self, need: Need) -> tuple[str, ...]:
        """What it cannot do of this, each in a sentence; nothing where it can do all."""
        stages = (f"the workers do not run {stage}" for stage in need.stages if stage not in self.stages)
        reasons = (self.models.get(model, f"the workers do not know model {model}") for model in need.models)
        return tuple(dict.fromkeys((*stages, *filter(None, reasons))))

    @cached_property
    def text(self) -> str:
        return json.dumps({"stages": sorted(self.stages), "models": dict(self.models)}, sort_keys=True)

    @cached_property
    def digest(self) -> str:
        """Of workers that can do the same it is the same."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]


def shared(abilities: Sequence[Ability]) -> Ability:
    """What each of these, which are one or more, can run. Of a model that one of them cannot draw with one reason is
    told."""
    models: dict[str, str] = {}
    for model in sorted({model for each in abilities for model in each.models}):
        lacks = [lack for each in abilities for lack in each.lacks(Need((model,), ()))]
        models[model] = lacks[0] if lacks else ""
    return Ability(frozenset.intersection(*(each.stages for each in abilities)), models)


def read_ability(text: str | bytes) -> Ability:
    """Of what `Ability.text` made. Raises ValueError, KeyError or TypeError."""
    told = json.loads(text)
    return Ability(frozenset(told["stages"]), dict(told["models"]))
