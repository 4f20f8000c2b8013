"""What decides a picture beside its stages: the weights and the programs, as they lie here. It reads no weights."""

import hashlib
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import gpu_worker
import jobs
from jobs.catalog import Catalog, Model

PACKAGES = (gpu_worker, jobs)


def drawn_by(catalog: Catalog) -> str:
    """Other weights, another catalogue or other code make other pictures of the same stages.

    Of code it is the content that counts: while it is being written, its version stays.
    """
    models = [_told(model) for model in catalog.models]
    return f"{_code(PACKAGES)} {version('torch')} {version('diffusers')} {models}"


def _told(model: Model) -> Sequence[object]:
    """A file of which the catalogue states the sha256 is the same wherever it lies; others may be replaced in place."""
    is_stated = bool(model.sha256) and model.path.is_file()
    weights = model.sha256 if is_stated else _states(model.path)
    config = _states(model.config_path) if model.config_path else []
    return model.id, weights, str(model.path), str(model.config_path), config, model.guidance_rescale


def _states(path: Path) -> list[tuple[str, int, int]]:
    """Of a file, or of all in a folder: their names, sizes, and when they were changed. Nothing where it is missing:
    then no job draws with it."""
    files = sorted(file for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file())
    stats = [(file, file.stat()) for file in files]
    return [(str(file.relative_to(path)), stat.st_size, stat.st_mtime_ns) for file, stat in stats]


def _code(packages: Iterable[ModuleType]) -> str:
    digest = hashlib.sha256()
    for package in packages:
        folder = Path(str(package.__file__)).parent
        for file in sorted(folder.rglob("*.py")):
            digest.update(str(file.relative_to(folder)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()
