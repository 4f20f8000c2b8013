"""The ladder, on real networks whose device is short of memory. CUDA has not run here: its error is raised for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpu_worker.engine import attention, latents
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.attachments import ControlNet
from jobs.catalog import Catalog, Family, Model
from jobs.errors import FatalFailure
from tests.gpu_worker.engine.conftest import Seen
from tests.gpu_worker.engine.small_device import SmallDevice, install

Install = Callable[..., SmallDevice]


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Install:
    return lambda **bounds: install(SmallDevice(**bounds), monkeypatch)


@pytest.fixture
def own_engine(folders: dict[str, Path]) -> DiffusersEngine:
    """With a cache of this test's own."""
    models = [Model(id=id, name=id, family=Family.SD15, path=folders["sd15"]) for id in ("m0", "m1")]
    return DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


def test_models_that_are_not_needed_leave_first(own_engine: DiffusersEngine, small: Install) -> None:
    other, checkpoint = own_engine.load("m1"), own_engine.load("m0")
    device = small(pixels=0)
    keep_only = own_engine._cache.keep_only

    def freed(needed: Any) -> None:
        keep_only(needed)
        device.pixels = float("inf")

    own_engine._cache.keep_only = freed  # type: ignore[method-assign]
    own_engine.decode(checkpoint, torch.zeros(1, 4, 8, 8))

    assert device.refusals == ["pixels"]
    assert own_engine.load("m0") is checkpoint
    assert own_engine.load("m1") is not other


def test_a_lack_while_loading_puts_the_others_out_and_loads_again(
    own_engine: DiffusersEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = own_engine.load("m1")
    to = torch.nn.Module.to
    lacks = [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()]

    def move(module: Any, *arguments: Any, **options: Any) -> Any:
        if "memory_format" in options and lacks and "m1" in own_engine._cache:
            raise lacks.pop()
        return to(module, *arguments, **options)

    monkeypatch.setattr(torch.nn.Module, "to", move)

    assert own_engine.load("m0").model.id == "m0"
    assert own_engine.load("m1") is not other


def test_the_vae_works_in_small_tiles(engine: Any, draw: Any, small: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = engine.load("sd15")
    drawn = draw(checkpoint, width=256, height=256)
    whole = np.asarray(engine.decode(checkpoint, drawn)[0], int)
    picture = Image.fromarray(whole.astype(np.uint8))
    encoded = engine.encode_pictures(checkpoint, [picture], width=256, height=256)
    monkeypatch.setattr(latents, "SMALL_TILE_PX", 128)
    device = small(pixels=140**2)

    tiled = np.asarray(engine.decode(checkpoint, drawn)[0], int)
    encoded_in_tiles = engine.encode_pictures(checkpoint, [picture], width=256, height=256)

    assert device.refusals == ["pixels"] * 4  # each whole, then with no other model loaded
    assert tiled.shape == whole.shape and np.abs(tiled - whole).mean() < np.abs(whole - whole.mean()).mean() / 2
    assert encoded_in_tiles.shape == encoded.shape
    assert not checkpoint.vae.use_tiling


def test_attention_in_slices_gives_the_same_numbers(
    engine: Any, draw: Any, small: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = engine.load("sd15")
    whole = draw(checkpoint, width=128, height=192)
    monkeypatch.setattr(attention, "SLICE_TOKENS", 100)
    device = small(scores=100 * 384)
    processors = dict(checkpoint.denoiser.attn_processors)

    sliced = draw(checkpoint, width=128, height=192)

    assert device.refusals == ["scores"] * 2
    torch.testing.assert_close(sliced, whole, rtol=0, atol=1e-4)
    assert checkpoint.denoiser.attn_processors == processors


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_pictures_one_by_one_are_those_of_the_batch(
    engine: Any, draw: Any, small: Install, guidance_scale: float
) -> None:
    checkpoint = engine.load("sdxl")  # which is told texts and sizes beside
    wish = {"seeds": [7, 8, 9], "guidance_scale": guidance_scale}
    together = draw(checkpoint, **wish)
    device = small(rows=2 if guidance_scale > 1 else 1)

    alone = draw(checkpoint, **wish)

    assert device.refusals == ["rows"] * 3
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)


def test_a_lack_in_the_middle_loses_no_step(engine: Any, draw: Any, small: Install) -> None:
    checkpoint, seen = engine.load("sd15"), Seen()
    together = draw(checkpoint, seeds=[7, 8], steps=5, sampler="DPM++ 2M Karras")
    device = small()
    step_done = seen.step_done

    def shrink(step: int, steps: int, preview: Any) -> None:
        step_done(step, steps, preview)
        device.rows = 2 if step == 2 else device.rows

    seen.step_done = shrink  # type: ignore[method-assign]
    alone = draw(checkpoint, seeds=[7, 8], steps=5, sampler="DPM++ 2M Karras", watch=seen)

    assert seen.steps == [(i, 5) for i in range(1, 6)]
    assert device.refusals == ["rows"] * 3  # and none in the steps that follow
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["BALANCED", "CONTROLNET_IS_MORE_IMPORTANT"])
def test_controlnets_guide_each_picture_alone(draw_guided: Any, small: Install, mode: str) -> None:
    together = draw_guided(mode)
    device = small(rows=2)

    alone = draw_guided(mode)

    assert device.refusals == ["rows"] * 3
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-4)


@pytest.fixture
def draw_guided(folders: dict[str, Path], tmp_path: Path) -> Any:
    from diffusers import ControlNetModel, UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(folders["sd15"], subfolder="unet")
    torch.manual_seed(3)
    network = ControlNetModel.from_unet(unet)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    network.save_pretrained(tmp_path / "edges")
    models = [
        Model(id="m0", name="m0", family=Family.SD15, path=folders["sd15"]),
        Model(id="12", name="edges", family=Family.SD15, kind="CONTROLNET", path=tmp_path / "edges"),
    ]
    engine = DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))

    def draw_guided(mode: Any) -> torch.Tensor:
        checkpoint = engine.load("m0")
        wish = ControlNet(model="12", preprocessor="none", control_mode=mode)
        control = engine.control(checkpoint, wish, picture=picture, mask=None, width=64, height=64)
        conditioning = engine.encode_prompt(checkpoint, prompt=(), negative=(), clip_skip=1)
        size = {"width": 64, "height": 64, "seeds": [7, 8], "sampler": "Euler", "steps": 2, "guidance_scale": 5.0}
        return engine.sample(checkpoint, conditioning, **size, watch=Seen(), controls=[control])

    return draw_guided


def test_below_the_last_rung_the_size_and_what_is_free_are_told(engine: Any, draw: Any, small: Install) -> None:
    checkpoint = engine.load("sd15")
    device = small(rows=0)

    with pytest.raises(FatalFailure) as failed:
        draw(checkpoint, width=64, height=128, seeds=[1, 2], watch=Seen())

    assert device.refusals == ["rows"] * 4
    assert failed.value.message.startswith(
        "out of memory while drawing 2 of 64 x 128, with no other model loaded, attention in slices and one picture"
    )
    assert " MiB are free on cpu (float32)): CUDA out of memory: rows" in failed.value.message
    device.rows = float("inf")
    assert draw(checkpoint).shape == (1, 4, 16, 16)


def test_the_allocators_own_error_is_known(engine: Any) -> None:
    # The CPU's allocator has no error class of its own; this shows that its message is still known.
    checkpoint, side = engine.load("tiny"), 16 * 2**20

    with pytest.raises(FatalFailure, match="out of memory while resizing"):
        engine.resize_latents(checkpoint, torch.zeros(1, 8, 1, 1), "Latent", width=side, height=side)


def test_other_errors_of_torch_pass_through(engine: Any) -> None:
    with pytest.raises(RuntimeError, match="channels"):
        engine.decode(engine.load("tiny"), torch.zeros(1, 3, 8, 8))
