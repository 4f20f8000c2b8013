"""The models that jobs may name. It does not read files: `config` fills it, workers open what it points to."""

import difflib
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from jobs.errors import DarkroomError


class Family(StrEnum):
    """Checkpoints that share an architecture, and so the published picture sizes."""

    SD15 = "SD15"
    SD2 = "SD2"
    SDXL = "SDXL"


class UnknownModel(DarkroomError):
    """No model of this name is in the catalogue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One checkpoint.

    `path` is a diffusers folder, or one `.safetensors` file in the original layout; the latter
    needs `config_path`, a diffusers folder of the same architecture (its weights are not read),
    to be loaded without a model hub.
    """

    id: str
    name: str
    family: Family
    path: Path
    config_path: Path | None = None
    aliases: tuple[str, ...] = ()


class Catalog:
    """Models by id, name or alias; the first is the default."""

    def __init__(self, models: list[Model]) -> None:
        if not models:
            raise UnknownModel("the catalogue names no model")
        self.default = models[0]
        self._by_name: dict[str, Model] = {}
        for model in models:
            for name in (model.id, model.name, *model.aliases):
                self._add(name, model)

    def _add(self, name: str, model: Model) -> None:
        taken = self._by_name.setdefault(name.casefold(), model)
        if taken is not model:
            raise DarkroomError(f"the catalogue gives the name {name!r} to both {taken.id} and {model.id}")

    def resolve(self, name: str) -> Model:
        """The model of this id, name or alias; the default for an empty name. Raises UnknownModel."""
        if not name:
            return self.default
        model = self._by_name.get(name.casefold())
        if model is None:
            near = difflib.get_close_matches(name.casefold(), self._by_name, n=3)
            hint = f"; did you mean {', '.join(near)}?" if near else f"; the default is {self.default.name}"
            raise UnknownModel(f"no model is named {name!r}{hint}")
        return model
