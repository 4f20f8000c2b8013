"""Networks from the files that are published for ControlNet's preprocessors, and what is made of what they say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from gpu_worker.engine.device import Device
from gpu_worker.engine.looking import edges, mlsd, pose, skeleton
from gpu_worker.engine.looking.hed import Hed
from gpu_worker.engine.looking.lineart import Lineart
from gpu_worker.engine.looking.lineart_anime import LineartAnime
from gpu_worker.engine.looking.mlsd import Mlsd
from gpu_worker.engine.looking.normal_bae import NormalBae
from gpu_worker.engine.looking.pidinet import PiDiNet
from gpu_worker.engine.looking.pose_networks import BodyPose, FacePose, HandPose
from gpu_worker.engine.memory import is_out_of_memory
from gpu_worker.engine.tensors import filled
from jobs.catalog import Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor
from jobs.weights import WrongWeights, main_file

Pixels = NDArray[np.uint8]
Map = NDArray[np.float32]
Parameters = Mapping[str, float]
Network = type[nn.Module]

# What such a file ends in, the one that runs no code first.
FORMS = (".safetensors", ".pth", ".pt")
PICKLED = FORMS[1:]

# Sides that every one of these networks takes.
_GRAIN_PX = 64
# Of a folder: the files beside `body_pose_model`, without what they end in.
_HAND, _FACE = "hand_pose_model", "facenet"
_PARTS: Mapping[str, Network] = {_HAND: HandPose, _FACE: FacePose}
_COUNTS = "num_batches_tracked"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLooker:
    """`main` is the network of the model's main file; `beside` those of the files beside it in a folder."""

    model: Model
    device: Device
    main: nn.Module
    beside: Mapping[str, nn.Module]

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for each in (self.main, *self.beside.values()) for tensor in each.parameters())

    def look(
        self, seen: Image.Image, preprocessor: Preprocessor, parameters: Parameters, size: tuple[int, int]
    ) -> Image.Image:
        pixels = np.asarray(seen.convert("RGB"))
        made = _WAYS[preprocessor].make(self, pixels, parameters)
        return Image.fromarray(made).convert("RGB").resize(size, Image.Resampling.LANCZOS)

    def says(self, pixels: Pixels) -> Tensor:
        """What the network says of the picture, which is made larger by its edge up to whole grains."""
        height, width = pixels.shape[:2]
        padded = np.pad(pixels, ((0, -height % _GRAIN_PX), (0, -width % _GRAIN_PX), (0, 0)), mode="edge")
        unit = torch.from_numpy(padded).to(self.device.torch_device).permute(2, 0, 1)[None].float() / 255
        return self.main(unit)  # type: ignore[no-any-return]

    def part(self, name: str) -> nn.Module:
        """Raises FatalFailure where the model's folder has it not."""
        if name not in self.beside:
            wanted = f"{' or '.join(f'{name}{form}' for form in FORMS)} beside body_pose_model"
            raise FatalFailure(f"{self.model.kind} {self.model.id}: {self.model.path} must be a folder with {wanted}")
        return self.beside[name]


Make = Callable[[PublishedLooker, Pixels, Parameters], Pixels]


@dataclass(frozen=True, slots=True)
class Way:
    """`networks` are those that may be in the main file; `make` draws what the one that is there says."""

    networks: tuple[Network, ...]
    make: Make


def load_published(model: Model, preprocessor: Preprocessor, device: Device) -> PublishedLooker:
    """Raises FatalFailure, naming the model and the file, if it is missing, damaged or another network's."""
    networks = _WAYS[preprocessor].networks
    try:
        file = main_file(model)
    except WrongWeights as error:
        raise FatalFailure(error.message) from error
    main = _network(model, file, networks, device)
    parts = _PARTS if BodyPose in networks and model.path.is_dir() else {}
    files = {name: found for name in parts if (found := _part_file(model.path, name))}
    beside = {name: _network(model, found, (parts[name],), device) for name, found in files.items()}
    return PublishedLooker(model=model, device=device, main=main, beside=beside)


def _part_file(folder: Path, name: str) -> Path | None:
    return next((file for form in FORMS if (file := folder / f"{name}{form}").is_file()), None)


def _network(model: Model, file: Path, networks: Sequence[Network], device: Device) -> nn.Module:
    tensors = _tensors(model, file)
    reasons = []
    for network in networks:
        try:
            placed = filled(network, _its_own(network, tensors)).to(device.torch_device)
            return placed.requires_grad_(False).eval()
        except ValueError as error:
            reasons.append(f"it is no {network.__name__}: {error}")
    raise FatalFailure(f"{model.kind} {model.id}: {file} does not hold the network; {'; '.join(reasons)}")


def _tensors(model: Model, file: Path) -> dict[str, Tensor]:
    if file.suffix in PICKLED and not model.sha256:
        reason = "is pickled, so the catalogue must state its sha256 (`darkroom models add --allow-pickle` does)"
        raise FatalFailure(f"{model.kind} {model.id}: {file} {reason}")
    try:
        # Tensors alone are read of a pickle: nothing in it runs.
        read = torch.load(file, map_location="cpu", weights_only=True) if file.suffix in PICKLED else load_file(file)
        return _bare(read)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Of a damaged file nearly any class is raised.
        raise FatalFailure(f"{model.kind} {model.id}: cannot load {file}: {error}") from error


def _bare(read: Any) -> dict[str, Tensor]:
    """The tensors under the names that their network gave them, in float32."""
    for whole in ("model", "state_dict"):
        read = read[whole] if isinstance(read.get(whole), Mapping) else read
    tensors = {name: each for name, each in read.items() if isinstance(each, Tensor)}
    # How it was trained on many devices says a word of its own.
    return {name.removeprefix("module."): each.float() for name, each in tensors.items()}


def _its_own(network: Network, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Some files hold more than their network; and how many pictures a norm has seen in training, some have not."""
    with torch.device("meta"):
        names = network().state_dict()
    counts = {name: torch.zeros((), dtype=torch.long) for name in names if name.endswith(_COUNTS)}
    return {name: each for name, each in tensors.items() if name in names} | counts


def _map(looker: PublishedLooker, pixels: Pixels) -> Map:
    """(height, width) of 0 to 1."""
    height, width = pixels.shape[:2]
    return np.asarray(looker.says(pixels)[0, 0, :height, :width].cpu().numpy())


def _edges(finish: Callable[[Map], Pixels]) -> Make:
    return lambda looker, pixels, _parameters: finish(_map(looker, pixels))


def _white_lines(looker: PublishedLooker, pixels: Pixels, _parameters: Parameters) -> Pixels:
    return 255 - edges.soft(_map(looker, pixels))


def _straight_lines(looker: PublishedLooker, pixels: Pixels, parameters: Parameters) -> Pixels:
    value, distance = parameters["value_threshold"], parameters["distance_threshold"]
    found = mlsd.segments(looker.says(pixels), value=value, distance=distance)
    return mlsd.drawn(found, (pixels.shape[1], pixels.shape[0]))


def _normals(looker: PublishedLooker, pixels: Pixels, _parameters: Parameters) -> Pixels:
    height, width = pixels.shape[:2]
    said = looker.says(pixels)[0, :, :height, :width].permute(1, 2, 0).cpu().numpy()
    return np.asarray((said * 255).astype(np.uint8))


def _people(*, bodies: bool = True, hands: bool = False, faces: bool = False) -> Make:
    def make(looker: PublishedLooker, pixels: Pixels, _parameters: Parameters) -> Pixels:
        hand = looker.part(_HAND) if hands else None
        face = looker.part(_FACE) if faces else None
        # Bodies are learned at a size of their own, whatever the grain.
        found = pose.poses(looker.main, pixels, hand=hand, face=face)
        return skeleton.drawn(found, (pixels.shape[1], pixels.shape[0]), with_bodies=bodies)

    return make


_EDGES = (Hed, PiDiNet)
_WAYS: Mapping[Preprocessor, Way] = {
    Preprocessor.SOFT_EDGE: Way(_EDGES, _edges(edges.soft)),
    Preprocessor.SOFT_EDGE_SAFE: Way(_EDGES, _edges(edges.safe)),
    Preprocessor.SOFT_EDGE_SCRIBBLE: Way(_EDGES, _edges(edges.scribble)),
    Preprocessor.SOFT_EDGE_SKETCH: Way(_EDGES, _edges(edges.sketch)),
    Preprocessor.DRAWN_LINES: Way((Lineart,), _white_lines),
    Preprocessor.ANIME_LINES: Way((LineartAnime,), _white_lines),
    Preprocessor.STRAIGHT_LINES: Way((Mlsd,), _straight_lines),
    Preprocessor.NORMAL_BAE: Way((NormalBae,), _normals),
    Preprocessor.POSE: Way((BodyPose,), _people()),
    Preprocessor.POSE_HAND: Way((BodyPose,), _people(hands=True)),
    Preprocessor.POSE_FACE: Way((BodyPose,), _people(faces=True)),
    Preprocessor.POSE_FACE_ONLY: Way((BodyPose,), _people(bodies=False, faces=True)),
    Preprocessor.POSE_FULL: Way((BodyPose,), _people(hands=True, faces=True)),
}
