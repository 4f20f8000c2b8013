"""What this worker can run: whose files lie here and fit into its memory, of what its operator lets it serve.

It loads nothing: of weights it reads how large they are.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from itertools import chain
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.ability import Ability
from jobs.capabilities import RUNNABLE
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.weights import WrongWeights, safetensors_header

if TYPE_CHECKING:
    from gpu_worker.engine.device import Device

_GIB = 2**30
_VARIANT = re.compile(r"\.(fp16|non_ema|ema)\.")
# How checkpoints in one file begin the names of what each of their networks has. Source: the original layouts.
_NETWORKS = (
    *("model.diffusion_model.", "model_ema.", "cond_stage_model.", "conditioner.", "first_stage_model.", "vae."),
    *("text_encoders.clip_l.", "text_encoders.clip_g.", "text_encoders.t5xxl."),
)
STARTS, DRAWS, DETECTS = "INPUT_INITIALIZE", "DIFFUSION", "CONTROLNET_DETECT"
# Of these kinds a stage needs a model.
_MODELS = {
    DRAWS: Kind.CHECKPOINT,
    "IMAGE_TO_INPAINT": Kind.CHECKPOINT,
    "IMAGE_TO_ADETAILER": Kind.CHECKPOINT,
    DETECTS: Kind.PREPROCESSOR,
}
# The packages without which models of a kind cannot be run at all.
_PACKAGES = {Kind.DETECTOR: "ultralytics"}


def ability_of(
    catalog: Catalog, device: "Device", *, families: Collection[Family] = (), stages: Collection[str] = ()
) -> Ability:
    """`families` and `stages` are all that it serves; all where there is none."""
    models = {model.id: _reason(model, device, families) for model in catalog.models}
    return Ability(RUNNABLE & frozenset(stages) if stages else RUNNABLE, models)


def served(ability: Ability, catalog: Catalog) -> frozenset[str]:
    """The stages that a job can ask of it, apart from the one that all begin with but those that detect."""
    kinds = {model.kind for model in catalog.models if not ability.models[model.id]}
    able = {stage for stage in ability.stages if stage not in _MODELS or _MODELS[stage] in kinds}
    return frozenset(able & {DETECTS} if STARTS not in able else able - {STARTS})


def _reason(model: Model, device: "Device", families: Collection[Family]) -> str:
    """Why it cannot be drawn with here, "" where it can. Accounts read it: it names no file."""
    name = f"{model.kind} {model.name!r}"
    if families and model.family not in (*families, Family.ANY):
        return f"{name} is of the family {model.family}, which no worker serves"
    if not model.path.exists():
        return f"{name} is in the catalogue, but its files are not on the workers"
    package = _PACKAGES.get(model.kind)
    if package and find_spec(package) is None:
        return f"{name} needs the package {package}, which is not installed on the workers"
    needs, has = largest_part_bytes(model.path, device.dtype.itemsize), device.memory_bytes
    if needs > has:
        return f"{name} needs {needs / _GIB:.1f} GiB of memory, and the workers have {has / _GIB:.1f}"
    return ""


def largest_part_bytes(path: Path, itemsize: int) -> int:
    """Of the weights of a folder's largest network, or a file's, with so many bytes for each number: less memory no way
    of drawing needs. 0 where they cannot be read: loading them will tell."""
    parts: Counter[str] = Counter()
    for file in _weights(path):
        try:
            for name, shape in safetensors_header(file).items():
                part = str(file.parent) if path.is_dir() else _network(name)
                parts[part] += prod(shape) * itemsize
        except WrongWeights:
            continue
    return max(parts.values(), default=0)


def _network(tensor: str) -> str:
    """In a checkpoint of one file, which of its networks; all other files hold one."""
    return next((prefix for prefix in _NETWORKS if tensor.startswith(prefix)), "")


def _weights(path: Path) -> Iterator[Path]:
    """What is loaded: published folders hold other precisions, averages of the training, and the whole in one file."""
    if path.is_file():
        yield path
        return
    is_whole = (path / "model_index.json").exists()
    for file in chain(path.glob("*/*.safetensors"), () if is_whole else path.glob("*.safetensors")):
        plain = file.with_name(_VARIANT.sub(".", file.name))
        if plain == file or not (plain.exists() or ".fp16." not in file.name):
            yield file
