"""What this worker can run: whose files lie here and fit into its memory, of what its operator lets it serve.

It loads nothing: of weights it reads how large they are.
"""

from collections import Counter
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from math import prod
from pathlib import Path

from gpu_worker.engine.device import Device
from jobs.ability import Ability
from jobs.capabilities import RUNNABLE
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.weights import WrongWeights, safetensors_header

_GIB = 2**30
# The packages without which models of a kind cannot be run at all.
_PACKAGES = {Kind.DETECTOR: "ultralytics"}


def ability_of(
    catalog: Catalog, device: Device, *, families: Collection[Family] = (), stages: Collection[str] = ()
) -> Ability:
    """`families` and `stages` are all that it serves; all where there is none."""
    models = {model.id: _reason(model, device, families) for model in catalog.models}
    return Ability(RUNNABLE & frozenset(stages) if stages else RUNNABLE, models)


def _reason(model: Model, device: Device, families: Collection[Family]) -> str:
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
                # A checkpoint in one file names the network first.
                parts[str(file.parent) if path.is_dir() else name.partition(".")[0]] += prod(shape) * itemsize
        except WrongWeights:
            continue
    return max(parts.values(), default=0)


def _weights(path: Path) -> Iterator[Path]:
    """One precision of each: some folders hold two."""
    for file in [path] if path.is_file() else path.rglob("*.safetensors"):
        if ".fp16." not in file.name or not file.with_name(file.name.replace(".fp16.", ".")).exists():
            yield file
