"""Whether the weights on disk are those that the catalogue states. It loads none."""

import hashlib
import json
from pathlib import Path

from jobs.catalog import Model
from jobs.errors import DarkroomError

WEIGHTS = "diffusion_pytorch_model.safetensors"
HALF_WEIGHTS = "diffusion_pytorch_model.fp16.safetensors"

# The first of the files that a large network is cut into.
_FIRST_SHARD = WEIGHTS.replace(".safetensors", "-00001-of-*.safetensors")
# Of a folder, the file of its largest network; float16 counts where there is nothing else, as in loading.
_MAIN_FILES = (
    *(f"unet/{WEIGHTS}", f"unet/{HALF_WEIGHTS}", f"transformer/{WEIGHTS}", f"transformer/{_FIRST_SHARD}"),
    *(f"transformer/{HALF_WEIGHTS}", WEIGHTS, HALF_WEIGHTS, "model.safetensors"),
    # Of people: beside it lie those of hands and faces.
    *("body_pose_model.safetensors", "body_pose_model.pth"),
)


# Source: the safetensors library, MAX_HEADER_SIZE.
MAX_HEADER_BYTES = 100_000_000


class WrongWeights(DarkroomError):
    """A model's weights are missing, or are not those that the catalogue states."""


class Weights:
    """Reads each file once in the life of this object, and once more after it was changed."""

    def __init__(self) -> None:
        self._digests: dict[tuple[Path, int, int], str] = {}

    def check(self, model: Model) -> None:
        """Takes a second per gigabyte or so. Raises WrongWeights; does nothing where the catalogue states no sha256."""
        if not model.sha256:
            return
        found = self.sha256(model)
        if found != model.sha256:
            file = main_file(model)
            raise WrongWeights(
                f"model {model.id}: {file} has the sha256 {found}, but the catalogue states {model.sha256}"
            )

    def sha256(self, model: Model) -> str:
        """Of the model's main file. Raises WrongWeights if it is missing, or cannot be read."""
        file = main_file(model)
        try:
            return self._digest(file)
        except OSError as error:
            raise WrongWeights(f"model {model.id}: cannot read {file}: {error}") from error

    def _digest(self, file: Path) -> str:
        state = file.stat()
        key = (file, state.st_size, state.st_mtime_ns)
        if key not in self._digests:
            with file.open("rb") as content:
                self._digests[key] = hashlib.file_digest(content, "sha256").hexdigest()
        return self._digests[key]


def safetensors_header(file: Path) -> dict[str, list[int]]:
    """The shapes of its tensors, by name; they are not loaded.

    Raises WrongWeights where the file is none, or is cut off: it is compared with its own header.
    """
    try:
        with file.open("rb") as content:
            length = int.from_bytes(content.read(8), "little")
            if not 0 < length <= min(MAX_HEADER_BYTES, file.stat().st_size):
                raise ValueError("its header has no length")
            header = json.loads(content.read(length))
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        ends = [entry["data_offsets"][1] for entry in entries.values()]
        if not ends or file.stat().st_size != 8 + length + max(ends):
            raise ValueError("it is not as long as its header says")
        return {name: [int(side) for side in entry["shape"]] for name, entry in entries.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WrongWeights(f"{file} is no whole safetensors file: {error}") from error


def main_file(model: Model) -> Path:
    """The file that stands for the model. Raises WrongWeights if it is missing."""
    if not model.path.exists():
        raise WrongWeights(f"model {model.id}: {model.path} does not exist")
    if model.path.is_file():
        return model.path
    for name in _MAIN_FILES:
        for file in model.path.glob(name):
            return file
    raise WrongWeights(f"model {model.id}: {model.path} holds none of {', '.join(_MAIN_FILES)}")
