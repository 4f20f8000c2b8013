"""The models that jobs may name. It does not read files: `config` fills it, workers open what it points to."""

import hashlib
import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from jobs.errors import DarkroomError
from jobs.names import did_you_mean, there_are
from jobs.vaes import OWN


class Kind(StrEnum):
    """What a model is for. Names belong to a kind: a LoRA's name, or id, is not a checkpoint's."""

    CHECKPOINT = "CHECKPOINT"
    LORA = "LORA"
    TEXTUAL_INVERSION = "TEXTUAL_INVERSION"
    CONTROLNET = "CONTROLNET"
    VAE = "VAE"
    MOTION_ADAPTER = "MOTION_ADAPTER"
    UPSCALER = "UPSCALER"
    DETECTOR = "DETECTOR"
    TAGGER = "TAGGER"
    PREPROCESSOR = "PREPROCESSOR"


class Family(StrEnum):
    """Checkpoints that share an architecture, and so the published picture sizes; all else names what it goes with."""

    SD15 = "SD15"
    SD2 = "SD2"
    SDXL = "SDXL"
    SD3 = "SD3"
    FLUX = "FLUX"
    ANY = "ANY"
    """Of what works on pictures, whatever checkpoint drew them."""


UNET_FAMILIES = frozenset({Family.SD15, Family.SD2, Family.SDXL})

FAMILIES_OF_KINDS = {
    Kind.MOTION_ADAPTER: UNET_FAMILIES,
    # Of CLIP's words FLUX reads but the sum.
    Kind.TEXTUAL_INVERSION: UNET_FAMILIES | {Family.SD3},
}
"""Of those kinds that do not go with every family."""

KINDS_OF_ANY_FAMILY = frozenset({Kind.UPSCALER, Kind.DETECTOR, Kind.TAGGER, Kind.PREPROCESSOR})


def any_name(names: Iterable[str]) -> re.Pattern[str] | None:
    """Finds these names as words of a text, whatever their case; None where there are none."""
    # Longest first: one name may begin with another.
    either = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.compile(rf"(?<!\w)({either})(?!\w)", re.IGNORECASE) if either else None


class UnknownModel(DarkroomError):
    """No model of this name is in the catalogue, or it is private and the access key is not its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One entry.

    `id` is a uint64, as text. `path` is a folder in diffusers' layout, or one file; a checkpoint in one
    `.safetensors` file of the original layout needs `config_path`, a diffusers folder of the same architecture
    (its weights are not read), to be loaded without a model hub. `sha256` is hexadecimal, of the file that
    `weights.main_file` names. A model with `access_key_sha256` is private. `guidance_rescale`, 0 to 1, keeps a
    checkpoint's colours at high guidance; 0 leaves guidance as it is. `clip_layers` is how many layers each of its
    text encoders has at least, None where that is not known here.
    """

    id: str
    name: str
    family: Family
    path: Path
    kind: Kind = Kind.CHECKPOINT
    config_path: Path | None = None
    aliases: tuple[str, ...] = ()
    description: str = ""
    licence: str = ""
    project_name: str = ""
    showcase_image_urls: tuple[str, ...] = ()
    trigger_words: tuple[str, ...] = ()
    sha256: str = ""
    access_key_sha256: str = field(default="", repr=False)
    guidance_rescale: float = 0.0
    clip_layers: int | None = None

    @property
    def is_private(self) -> bool:
        return bool(self.access_key_sha256)

    def is_named_in(self, texts: Iterable[str]) -> bool:
        name = any_name((self.name, *self.aliases))
        return name is not None and any(name.search(text) for text in texts)

    def is_open_to(self, access_key: str) -> bool:
        if not self.is_private:
            return True
        # surrogatepass: a header may hold bytes that are no text; they are a wrong key.
        given = hashlib.sha256(access_key.encode(errors="surrogatepass")).hexdigest()
        return hmac.compare_digest(given, self.access_key_sha256)


WORDS = {Kind.VAE: OWN}
"""What a job may say in place of a model of this kind."""

# Of a catalogue of hundreds nobody reads all.
MAX_NAMES_TOLD = 10


class Catalog:
    """Models by id, and by kind and name. The first checkpoint that is not private is the default."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        self._by_id: dict[str, Model] = {}
        self._by_name: dict[Kind, dict[str, Model]] = {kind: {} for kind in Kind}
        for model in models:
            self._add(model)
        self.default = self._first_for_all()
        words = self._by_name[Kind.TEXTUAL_INVERSION].items()
        self._words = {name: model for name, model in words if name != model.id and not model.is_private}
        self._word = any_name(self._words)

    def get(self, model_id: str) -> Model:
        """The model of this id, of any kind, for callers that asked `is_open_to` or need not. Raises UnknownModel."""
        model = self._by_id.get(model_id)
        if model is None:
            raise UnknownModel(f"no model has the id {model_id!r}")
        return model

    def resolve(self, kind: Kind, name: str, access_key: str = "") -> Model:
        """The model of this kind with this id, name or alias; the default checkpoint for an empty name.

        Raises UnknownModel, in the same words for a private model and a wrong key: a stranger cannot tell.
        """
        if not name and kind is Kind.CHECKPOINT:
            return self.default
        model = self._by_name[kind].get(name.casefold())
        if model is None or not model.is_open_to(access_key):
            raise UnknownModel(f"no {kind} has the id, name or alias {name!r}; {self._hint(kind, name)}")
        return model

    def words_in(self, texts: Sequence[str], family: Family) -> list[Model]:
        """The learned words of this family that the texts name, whatever their case; private ones never."""
        if self._word is None or not self._may_name(texts):
            return []
        found = (self._words.get(name.casefold()) for text in texts for name in self._word.findall(text))
        return [model for model in dict.fromkeys(found) if model and model.family is family]

    def _may_name(self, texts: Sequence[str]) -> bool:
        """Far quicker than to look for the words as such, which nearly no prompt has."""
        folded = " ".join(texts).casefold()
        return any([word in folded for word in self._words])

    def _add(self, model: Model) -> None:
        taken = self._by_id.setdefault(model.id, model)
        if taken is not model:
            raise DarkroomError(f"the catalogue gives the id {model.id} to both {taken.name!r} and {model.name!r}")
        for name in (model.id, model.name, *model.aliases):
            taken = self._by_name[model.kind].setdefault(name.casefold(), model)
            if taken is not model:
                raise DarkroomError(f"the catalogue gives the name {name!r} to both {taken.id} and {model.id}")

    def _first_for_all(self) -> Model:
        for model in self.models:
            if model.kind is Kind.CHECKPOINT and not model.is_private:
                return model
        raise UnknownModel("the catalogue names no model that can be the default: a CHECKPOINT without access key")

    def names(self, kind: Kind) -> tuple[list[str], dict[str, str]]:
        """The names of those of this kind that are not private; and what else they may be called, with what to suggest
        in its place: for an alias the name, for an id itself."""
        shown = [model for model in self.models if model.kind is kind and not model.is_private]
        aliases = {alias: model.name for model in shown for alias in model.aliases}
        return [model.name for model in shown], aliases | {model.id: model.id for model in shown}

    def _hint(self, kind: Kind, name: str) -> str:
        here, others = self.names(kind)
        names = [*WORDS.get(kind, ()), *here]
        if near := did_you_mean(name, names, others):
            return near
        if kind is Kind.CHECKPOINT:
            return f"the default is {self.default.name!r}"
        return there_are(names[:MAX_NAMES_TOLD]) if names else "the catalogue has none"
