"""Latents of pictures that are enlarged, and of large ones."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from config.catalog import read_catalog
from config.settings import ModelSettings
from gpu_worker.engine import latents
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.errors import FatalFailure
from jobs.upscalers import Upscaler, is_latent


@pytest.mark.parametrize("upscaler", [each for each in Upscaler if is_latent(each)])
def test_latents_are_interpolated_as_the_upscalers_name_says(engine: Any, upscaler: Upscaler) -> None:
    checkpoint = engine.load("sd15")
    small = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    mode = upscaler.removeprefix("Latent").strip(" ()").removesuffix("antialiased").strip() or "bilinear"
    smooth = {"antialias": "antialiased" in upscaler} if mode in ("bilinear", "bicubic") else {}

    large = engine.resize_latents(checkpoint, small, upscaler, width=96, height=96)

    assert torch.equal(large, torch.nn.functional.interpolate(small, (12, 12), mode=mode, **smooth))


@pytest.mark.parametrize(("width", "height", "rows", "columns"), [(128, 64, 16, 16), (64, 96, 12, 12)])
def test_another_ratio_is_cut_from_the_middle_or_stretched(
    engine: Any, width: int, height: int, rows: int, columns: int
) -> None:
    checkpoint, name = engine.load("sd15"), "Latent (nearest)"
    small = torch.arange(64.0).view(1, 1, 8, 8).expand(1, 4, 8, 8)

    cut = engine.resize_latents(checkpoint, small, name, width=width, height=height)
    stretched = engine.resize_latents(checkpoint, small, name, width=width, height=height, keeps_ratio=False)

    whole = torch.nn.functional.interpolate(small, (rows, columns), mode="nearest")
    top, left = (rows - height // 8) // 2, (columns - width // 8) // 2
    assert torch.equal(cut, whole[..., top : top + height // 8, left : left + width // 8])
    assert torch.equal(stretched, torch.nn.functional.interpolate(small, (height // 8, width // 8), mode="nearest"))


def test_a_large_picture_goes_through_the_vae_in_tiles_and_comes_out_nearly_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = ModelSettings()
    engine = DiffusersEngine(read_catalog(settings.catalog_file, settings.models_folder), CPU, max_cached_bytes=2**30)
    checkpoint = engine.load("1000000000000000001")
    y, x = np.mgrid[0:512, 0:768]
    pixels = np.where((x - 384) ** 2 + (y - 256) ** 2 < 180**2, 220, 40).astype(np.uint8)
    picture = Image.fromarray(np.stack([pixels, 255 - pixels, pixels // 2], axis=-1))
    whole = engine.encode_pictures(checkpoint, [picture], width=768, height=512)
    (seen_whole,) = engine.decode(checkpoint, whole)
    monkeypatch.setattr(latents, "WHOLE_PIXELS", 768 * 512 - 1)
    monkeypatch.setattr(latents, "TILE_PX", 384)

    tiled = engine.encode_pictures(checkpoint, [picture], width=768, height=512)
    (seen_tiled,) = engine.decode(checkpoint, tiled)

    difference = np.abs(np.asarray(seen_tiled, int) - np.asarray(seen_whole, int))
    assert not torch.equal(tiled, whole)
    assert difference.mean() < 2 and np.percentile(difference, 99) < 24
    assert not checkpoint.vae.use_tiling


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_no_picture(engine: Any, value: float) -> None:
    spoilt = torch.zeros(2, 4, 8, 8)
    spoilt[1, 0, 3, 3] = value

    with pytest.raises(FatalFailure, match="values that are no numbers: weights of prompts"):
        engine.decode(engine.load("sd15"), spoilt)
