"""From few pixels to many: ESRGAN's network, read from the files that are published for it, and run in tiles.

Other networks are read by the package spandrel, where it is installed. It knows no stage.
"""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from gpu_worker.engine.device import Device
from gpu_worker.engine.tensors import filled, read_tensors
from jobs.catalog import Model
from jobs.engine import go_on
from jobs.errors import FatalFailure
from jobs.upscalers import Upscaler as Names

# Of the picture that comes in: what one tile makes at most, and what it sees of its neighbours on each side.
TILE_PX = 256
SMALL_TILE_PX = 64
OVERLAP_PX = 32
LEAK = 0.2
RESIDUAL = 0.2
DENSE = range(1, 6)

_OLD_LAST_LAYERS = 2

# What needs no network.
RESAMPLINGS: Mapping[str, Image.Resampling] = {
    Names.NONE: Image.Resampling.LANCZOS,
    Names.LANCZOS: Image.Resampling.LANCZOS,
    Names.NEAREST: Image.Resampling.NEAREST,
}
# Source: AUTOMATIC1111's stable-diffusion-webui, modules/upscaler.py, Upscaler.upscale.
MOST_TIMES = 3
# Of what a network makes: eight times the largest picture that is asked for, and 200 MB.
MOST_PIXELS = 2**26


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The sizes of an RRDBNet; `doublings` are its up-convolutions."""

    features: int
    growth: int
    blocks: int
    doublings: int

    @property
    def scale(self) -> int:
        return int(2**self.doublings)


class DenseBlock(nn.Module):
    """Five convolutions, each of which sees what all before it said."""

    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        for i in DENSE:
            outputs = features if i == DENSE[-1] else growth
            self.add_module(f"conv{i}", _convolution(features + (i - 1) * growth, outputs))

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for i in DENSE[:-1]:
            said = functional.leaky_relu(self.get_submodule(f"conv{i}")(seen), LEAK)
            seen = torch.cat((seen, said), 1)
        return x + RESIDUAL * self.get_submodule(f"conv{DENSE[-1]}")(seen)  # type: ignore[no-any-return]


class ResidualBlock(nn.Module):
    def __init__(self, features: int, growth: int) -> None:
        super().__init__()
        self.rdb1 = DenseBlock(features, growth)
        self.rdb2 = DenseBlock(features, growth)
        self.rdb3 = DenseBlock(features, growth)

    def forward(self, x: Tensor) -> Tensor:
        return x + RESIDUAL * self.rdb3(self.rdb2(self.rdb1(x)))  # type: ignore[no-any-return]


class RRDBNet(nn.Module):
    """(n, 3, h, w) in [0, 1] to (n, 3, scale × h, scale × w); its tensors have the names of Real-ESRGAN's files.

    Source: Wang et al. 2018, arXiv:1809.00219; BasicSR's rrdbnet_arch.py.
    """

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        features = layout.features
        self.layout = layout
        self.conv_first = _convolution(3, features)
        self.body = nn.Sequential(*(ResidualBlock(features, layout.growth) for _ in range(layout.blocks)))
        self.conv_body = _convolution(features, features)
        for i in range(layout.doublings):
            self.add_module(f"conv_up{i + 1}", _convolution(features, features))
        self.conv_hr = _convolution(features, features)
        self.conv_last = _convolution(features, 3)

    def forward(self, x: Tensor) -> Tensor:
        first = self.conv_first(x)
        seen = first + self.conv_body(self.body(first))
        for i in range(self.layout.doublings):
            larger = functional.interpolate(seen, scale_factor=2, mode="nearest")
            seen = functional.leaky_relu(self.get_submodule(f"conv_up{i + 1}")(larger), LEAK)
        return self.conv_last(functional.leaky_relu(self.conv_hr(seen), LEAK))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, kw_only=True)
class Upscaler:
    """One loaded network, in evaluation mode, shared by all requests: nobody changes it.

    `network` makes (1, 3, scale × h, scale × w) of (1, 3, h, w) in [0, 1], both of `dtype`.
    """

    model: Model
    device: Device
    dtype: torch.dtype
    scale: int
    network: Any
    size_bytes: int


def load_upscaler(model: Model, device: Device) -> Upscaler:
    """The model on the device, ready to be used: 2×, 4×, 8× …, of any number of blocks and features.

    Raises FatalFailure, naming the model and the file, if it is missing, damaged or of an unknown architecture.
    """
    tensors = read_tensors(model)
    try:
        network = network_of(tensors)
    except ValueError as error:
        return _load_by_spandrel(model, tensors, device, str(error))
    network.requires_grad_(False).eval()
    placed = network.to(device.torch_device, device.dtype, memory_format=device.memory_format)  # type: ignore[call-overload]
    return Upscaler(
        model=model,
        device=device,
        dtype=device.dtype,
        scale=network.layout.scale,
        network=placed,
        size_bytes=_bytes(placed),
    )


def _load_by_spandrel(model: Model, tensors: Mapping[str, Tensor], device: Device, reason: str) -> Upscaler:
    """`reason` is why it is no RRDBNet."""
    unknown = f"{model.kind} {model.id}: {model.path} holds no upscaler that is known: {reason}"
    try:
        from spandrel import ImageModelDescriptor, ModelLoader
    except ImportError as error:
        missing = "the package spandrel, which knows others, is not installed on this worker"
        raise FatalFailure(f"{unknown}; {missing}") from error
    try:
        found = ModelLoader(device="cpu").load_from_state_dict(dict(tensors))
    except Exception as error:
        # Of a damaged file nearly any class is raised.
        raise FatalFailure(f"{unknown}; nor does spandrel know it: {error}") from error
    if not isinstance(found, ImageModelDescriptor) or (found.input_channels, found.output_channels) != (3, 3):
        raise FatalFailure(f"{unknown}; spandrel takes it for one that enlarges no colour pictures")
    dtype = device.dtype if found.supports_half else torch.float32
    # It pads what it is given to the sizes that its network takes.
    placed = found.to(device.torch_device, dtype).eval()
    return Upscaler(
        model=model, device=device, dtype=dtype, scale=found.scale, network=placed, size_bytes=_bytes(found.model)
    )


def _bytes(network: nn.Module) -> int:
    return sum(tensor.nbytes for tensor in network.parameters())


def network_of(tensors: Mapping[str, Tensor]) -> RRDBNet:
    """Raises ValueError, with the first difference, if these are not the tensors of an RRDBNet."""
    named = dict(_with_new_names(tensors)) if "model.0.weight" in tensors else dict(tensors)
    layout = _layout(named)
    return filled(lambda: RRDBNet(layout), named)


def _layout(tensors: Mapping[str, Tensor]) -> Layout:
    first, growing = (tensors.get(name) for name in ("conv_first.weight", "body.0.rdb1.conv1.weight"))
    if first is None or growing is None:
        raise ValueError("it has not the tensors of an RRDBNet (conv_first, body.0.rdb1.conv1)")
    if first.ndim != 4 or growing.ndim != 4:
        raise ValueError("conv_first and body.0.rdb1.conv1 are no convolutions")
    if first.shape[1] != 3:
        # Real-ESRGAN's 2× files fold 2 × 2 pixels into one.
        raise ValueError(f"conv_first takes {first.shape[1]} channels, not the 3 of a picture")
    return Layout(
        features=first.shape[0],
        growth=growing.shape[0],
        blocks=_count(tensors, r"body\.(\d+)\."),
        doublings=_count(tensors, r"conv_up(\d+)\."),
    )


def _count(tensors: Mapping[str, Tensor], pattern: str) -> int:
    return len({found[1] for name in tensors if (found := re.match(pattern, name))})


def _with_new_names(tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Of the first ESRGAN's files: one `model` in a row, where only what computes has a number."""
    outer = sorted({int(found[1]) for name in tensors if (found := re.match(r"model\.(\d+)\.(weight|bias)$", name))})
    ups = {number: f"conv_up{i + 1}" for i, number in enumerate(outer[1:-_OLD_LAST_LAYERS])}
    row = {
        outer[0]: "conv_first",
        **ups,
        **dict(zip(outer[-_OLD_LAST_LAYERS:], ("conv_hr", "conv_last"), strict=False)),
    }
    for name, tensor in tensors.items():
        name = re.sub(r"^model\.1\.sub\.(\d+)\.RDB(\d)\.conv(\d)\.0\.", r"body.\1.rdb\2.conv\3.", name)
        name = re.sub(r"^model\.1\.sub\.\d+\.(?=(weight|bias)$)", "conv_body.", name)
        name = re.sub(r"^model\.(\d+)\.(?=(weight|bias)$)", lambda found: f"{row[int(found[1])]}.", name)
        yield name, tensor


def _convolution(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def upscale(
    upscaler: Upscaler,
    picture: Image.Image,
    *,
    tile: int = TILE_PX,
    overlap: int = OVERLAP_PX,
    check: Callable[[], None] = go_on,
) -> Image.Image:
    """The picture in RGB, `scale` times as wide and high. Memory is that of one tile, and of the result.

    `check` is called before each tile, and ends the work by raising.

    Tiles are the same as the whole where `overlap` is what the network sees around a pixel (15 per block and a few),
    and nearly the same before: what is far away counts for little.
    """
    pixels = np.asarray(picture.convert("RGB"))
    height, width = pixels.shape[:2]
    scale = upscaler.scale
    result = np.empty((scale * height, scale * width, 3), np.uint8)
    for rows in _spans(height, tile, overlap):
        for columns in _spans(width, tile, overlap):
            check()
            large = _enlarged(upscaler, pixels[rows.seen, columns.seen])
            result[rows.made_at(scale), columns.made_at(scale)] = large[rows.kept(scale), columns.kept(scale)]
    return Image.fromarray(result)


def upscale_to(
    upscaler: Upscaler,
    picture: Image.Image,
    width: int,
    height: int,
    *,
    tile: int = TILE_PX,
    check: Callable[[], None] = go_on,
) -> Image.Image:
    """As often as it takes to reach this size, three times at most."""
    for _ in range(MOST_TIMES):
        if picture.width >= width and picture.height >= height:
            break
        picture = upscale(upscaler, _bounded(picture, upscaler.scale), tile=tile, check=check)
    return picture


def _bounded(picture: Image.Image, scale: int) -> Image.Image:
    """No larger than that the result has MOST_PIXELS."""
    ratio = (MOST_PIXELS / (picture.width * picture.height)) ** 0.5 / scale
    if ratio >= 1:
        return picture
    size = max(int(picture.width * ratio), 1), max(int(picture.height * ratio), 1)
    return picture.resize(size, Image.Resampling.LANCZOS)


@dataclass(frozen=True, slots=True)
class Span:
    """A tile's part of one axis: it makes `first` to `last`, and sees `start` to `end`."""

    first: int
    last: int
    start: int
    end: int

    @property
    def seen(self) -> slice:
        return slice(self.start, self.end)

    def made_at(self, scale: int) -> slice:
        return slice(scale * self.first, scale * self.last)

    def kept(self, scale: int) -> slice:
        return slice(scale * (self.first - self.start), scale * (self.last - self.start))


def _spans(length: int, tile: int, overlap: int) -> Iterator[Span]:
    """Equal parts, as few as `tile` allows."""
    count = -(-length // tile)
    edges = [i * length // count for i in range(count + 1)]
    for first, last in itertools.pairwise(edges):
        yield Span(first, last, max(0, first - overlap), min(length, last + overlap))


@torch.inference_mode()
def _enlarged(upscaler: Upscaler, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    device = upscaler.device
    unit = torch.from_numpy(pixels.copy()).to(device.torch_device).permute(2, 0, 1)[None].to(upscaler.dtype) / 255
    large = upscaler.network(unit.contiguous(memory_format=device.memory_format))[0]
    return np.asarray((large.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu().numpy())
