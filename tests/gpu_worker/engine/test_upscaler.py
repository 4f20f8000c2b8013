"""ESRGAN's network from the files that are published for it, and pictures through it in tiles."""

import random
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from config.catalog import read_catalog
from config.settings import ModelSettings
from gpu_worker.engine.device import CPU, Device
from gpu_worker.engine.upscaler import Layout, RRDBNet, load_upscaler, upscale, upscale_to
from jobs.catalog import Family, Kind, Model
from jobs.errors import FatalFailure
from training.drawing import draw
from training.evaluate_upscaler import open_upscaler, quarters, score_upscaler
from training.scenes import held_out_scene

MODELS = ModelSettings().models_folder
SMALL = Layout(features=8, growth=4, blocks=2, doublings=2)


def network(layout: Layout = SMALL) -> RRDBNet:
    """Wild enough that each pixel depends on many, and gray enough that none is cut off."""
    torch.manual_seed(3)
    network = RRDBNet(layout)
    for convolution in (each for each in network.modules() if isinstance(each, torch.nn.Conv2d)):
        torch.nn.init.kaiming_normal_(convolution.weight)
    network.conv_last.weight.data /= 10 * network.conv_last.weight.data.norm()
    torch.nn.init.constant_(network.conv_last.bias, 0.5)
    return network


def saved(folder: Path, tensors: dict[str, Any]) -> Model:
    save_file(tensors, folder / "up.safetensors")
    return model_at(folder / "up.safetensors")


def model_at(file: Path) -> Model:
    return Model(id="m7", name="up", kind=Kind.UPSCALER, family=Family.ANY, path=file)


def old_names(tensors: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """As ESRGAN's first files have them: a row of layers, in which enlarging and activation count too."""
    ups = {f"conv_up{i + 1}": 3 * (i + 1) for i in range(layout.doublings)}
    end = 3 * layout.doublings + 2
    row = {"conv_first": 0, **ups, "conv_hr": end, "conv_last": end + 2}
    old = {}
    for name, tensor in tensors.items():
        layer, kind = name.rsplit(".", 1)
        inner = re.sub(r"body\.(\d+)\.rdb(\d)\.conv(\d)", r"model.1.sub.\1.RDB\2.conv\3.0", layer)
        body = f"model.1.sub.{layout.blocks}" if layer == "conv_body" else inner
        old[f"model.{row[layer]}.{kind}" if layer in row else f"{body}.{kind}"] = tensor
    return old


def picture(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8))


@pytest.mark.parametrize(
    "layout",
    [
        SMALL,
        Layout(features=6, growth=2, blocks=1, doublings=1),
        Layout(features=4, growth=3, blocks=3, doublings=3),
    ],
)
@pytest.mark.parametrize("is_old", [False, True])
def test_the_sizes_of_a_network_are_read_from_its_tensors(layout: Layout, is_old: bool, tmp_path: Path) -> None:
    original = network(layout)
    tensors = original.state_dict()

    loaded = load_upscaler(saved(tmp_path, old_names(tensors, layout) if is_old else tensors), CPU)

    assert loaded.network.layout == layout
    assert loaded.scale == 2**layout.doublings
    pixels = torch.rand(1, 3, 9, 7)
    with torch.inference_mode():
        assert torch.allclose(loaded.network(pixels), original(pixels), atol=1e-5)


def test_the_tensors_have_the_names_of_the_published_files() -> None:
    names = {name.removesuffix(".weight") for name in network().state_dict() if name.endswith(".weight")}

    dense = {f"body.{b}.rdb{r}.conv{c}" for b in (0, 1) for r in (1, 2, 3) for c in range(1, 6)}
    assert names == dense | {"conv_first", "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"}


def test_half_weights_are_used_in_the_precision_of_the_device(tmp_path: Path) -> None:
    loaded = load_upscaler(saved(tmp_path, {n: t.half() for n, t in network().state_dict().items()}), CPU)

    assert {tensor.dtype for tensor in loaded.network.state_dict().values()} == {torch.float32}
    assert loaded.size_bytes == 4 * sum(tensor.numel() for tensor in network().state_dict().values())


def without(name: str) -> dict[str, Any]:
    return {each: tensor for each, tensor in network().state_dict().items() if each != name}


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        (without("body.1.rdb2.conv5.bias"), r"body\.1\.rdb2\.conv5\.bias is missing"),
        (without("conv_first.weight"), "has not the tensors of an RRDBNet"),
        (network().state_dict() | {"body.0.rdb1.conv1x1.weight": torch.zeros(1)}, "conv1x1.weight is unknown"),
        (without("conv_hr.bias") | {"conv_hr.bias": torch.zeros(9)}, r"conv_hr\.bias has the shape \(9,\), not \(8,\)"),
        (without("") | {"conv_first.weight": torch.zeros(8, 12, 3, 3)}, "takes 12 channels"),
        ({"model.0.weight": torch.zeros(8, 3, 3, 3)}, "has not the tensors of an RRDBNet"),
        ({"layers.0.attn.qkv.weight": torch.zeros(3)}, "has not the tensors of an RRDBNet"),
    ],
)
def test_another_architecture_is_refused_with_the_first_difference(
    tensors: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(FatalFailure, match=rf"UPSCALER m7: .*up\.safetensors holds no upscaler.*{reason}"):
        load_upscaler(saved(tmp_path, tensors), CPU)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"\x10\0\0\0\0\0\0\0{")

    with pytest.raises(FatalFailure, match=f"UPSCALER m7: cannot load {damaged}"):
        load_upscaler(model_at(damaged), CPU)
    with pytest.raises(FatalFailure, match=r"UPSCALER m7: cannot load .*absent"):
        load_upscaler(model_at(tmp_path / "absent.safetensors"), CPU)
    with pytest.raises(FatalFailure, match=r"not a \.safetensors file"):
        load_upscaler(model_at(tmp_path / "up.pth"), CPU)


@pytest.mark.parametrize("size", [(70, 41), (33, 90), (20, 20), (1, 1)])
def test_tiles_make_what_the_whole_makes(size: tuple[int, int], tmp_path: Path) -> None:
    # Two blocks see 15 pixels each, the other layers 4 together.
    loaded = load_upscaler(saved(tmp_path, network().state_dict()), CPU)
    given = picture(*size)

    tiled = np.asarray(upscale(loaded, given, tile=24, overlap=34)).astype(int)
    whole = np.asarray(upscale(loaded, given, tile=100)).astype(int)

    assert whole.shape == (4 * size[1], 4 * size[0], 3)
    # Sums of another order may round to the neighbouring value.
    assert abs(tiled - whole).max() <= 1
    assert (tiled == whole).mean() > 0.999


def test_a_tile_never_sees_more_than_its_overlap_adds(tmp_path: Path) -> None:
    loaded = load_upscaler(saved(tmp_path, network().state_dict()), CPU)
    seen: list[tuple[int, ...]] = []
    loaded.network.register_forward_pre_hook(lambda _, inputs: seen.append(tuple(inputs[0].shape)))

    upscale(loaded, picture(90, 50), tile=32, overlap=4)

    assert len(seen) == 6
    assert all(height <= 40 and width <= 40 for _, _, height, width in seen)


@pytest.fixture(scope="module")
def bundled() -> Model:
    return read_catalog(ModelSettings().catalog_file, MODELS).resolve(Kind.UPSCALER, "darkroom-shapes-4x")


@pytest.mark.parametrize(
    ("kind", "count", "nearer_db", "times_sharper"),
    [("box", 5, 5, 2.5), ("bicubic", 5, 5, 2.5), ("worn", 5, 2.5, 2), ("autoencoder", 2, 0.1, 1.3)],
)
def test_the_bundled_upscaler_is_nearer_to_held_out_pictures_and_sharper_than_bicubic(
    bundled: Model, kind: str, count: int, nearer_db: float, times_sharper: float
) -> None:
    pairs = quarters(kind, count, MODELS / "darkroom-shapes" / "vae")

    scores = score_upscaler(open_upscaler(bundled.path), pairs)

    (near, sharp), (bicubic_near, bicubic_sharp) = scores["network"], scores["bicubic"]
    assert near > bicubic_near + nearer_db
    assert times_sharper * bicubic_sharp < sharp < 1.1


def test_the_bundled_upscaler_shows_no_seams(bundled: Model) -> None:
    loaded = load_upscaler(bundled, CPU)
    rng = random.Random(12)
    given = Image.fromarray(draw(held_out_scene(rng), rng, 160, 96))

    tiled = np.asarray(upscale(loaded, given, tile=64)).astype(int)
    whole = np.asarray(upscale(loaded, given)).astype(int)

    assert abs(tiled - whole).max() <= 3


def test_the_bundled_file_is_small_and_in_half_precision(bundled: Model) -> None:
    assert bundled.path.stat().st_size < 2_000_000
    assert {tensor.dtype for tensor in load_file(bundled.path).values()} == {torch.float16}


@pytest.mark.parametrize(("most", "made"), [(100 * 100 * 16, (400, 400)), (80 * 80 * 16, (320, 320))])
def test_what_a_network_makes_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, made: tuple[int, int]
) -> None:
    loaded = load_upscaler(saved(tmp_path, network().state_dict()), CPU)
    monkeypatch.setattr("gpu_worker.engine.upscaler.MOST_PIXELS", most)

    assert upscale_to(loaded, picture(100, 100), 101, 101).size == made


class Enlarging:
    """Stands for spandrel's description of a network: enlarges by repeating, as that package words it."""

    input_channels = output_channels = 3
    scale = 3
    supports_half = False

    def __init__(self) -> None:
        self.model = torch.nn.Linear(2, 2)
        self.placed: list[Any] = []

    def to(self, *place: Any) -> "Enlarging":
        self.placed.append(place)
        return self

    def eval(self) -> "Enlarging":
        return self

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.repeat_interleave(3, -1).repeat_interleave(3, -2)


def install(monkeypatch: pytest.MonkeyPatch, found: Any) -> None:
    """As `spandrel`, with one loader that finds this, or raises it."""

    class Loader:
        def __init__(self, device: str) -> None:
            assert device == "cpu"

        def load_from_state_dict(self, tensors: dict[str, torch.Tensor]) -> Any:
            assert list(tensors) == ["layers.0.weight"]
            if isinstance(found, Exception):
                raise found
            return found

    module = ModuleType("spandrel")
    vars(module).update(ModelLoader=Loader, ImageModelDescriptor=Enlarging)
    monkeypatch.setitem(sys.modules, "spandrel", module)


def of_another_kind(folder: Path) -> Model:
    return saved(folder, {"layers.0.weight": torch.zeros(2, 2)})


def test_another_kind_of_network_is_read_by_spandrel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = Enlarging()
    install(monkeypatch, found)
    half = Device(torch_device=torch.device("cpu"), dtype=torch.float16)

    upscaler = load_upscaler(of_another_kind(tmp_path), half)
    small = np.random.default_rng(0).integers(0, 256, (20, 40, 3), np.uint8)
    large = upscale(upscaler, Image.fromarray(small), tile=16)

    assert (upscaler.scale, upscaler.dtype, upscaler.size_bytes) == (3, torch.float32, 4 * (2 * 2 + 2))
    assert found.placed == [(half.torch_device, torch.float32)]
    assert np.array_equal(np.asarray(large), small.repeat(3, 0).repeat(3, 1))


def test_without_spandrel_it_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "spandrel", None)

    with pytest.raises(FatalFailure, match=r"UPSCALER m7: .* the package spandrel, .* is not installed"):
        load_upscaler(of_another_kind(tmp_path), CPU)


def test_what_spandrel_does_not_know_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gray = Enlarging()
    gray.input_channels = 1
    for found, told in ((ValueError("no architecture"), "no architecture"), (gray, "colour"), (object(), "colour")):
        install(monkeypatch, found)
        with pytest.raises(FatalFailure, match=f"UPSCALER m7: .*{told}"):
            load_upscaler(of_another_kind(tmp_path), CPU)
