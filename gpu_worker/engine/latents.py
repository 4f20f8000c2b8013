"""Latents from seeds and pictures, and pictures from latents. It denoises nothing."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from torch import Tensor

from gpu_worker.engine.checkpoint import Checkpoint
from jobs.errors import FatalFailure
from jobs.upscalers import Upscaler

PREVIEW_SIDE_PX = 256
# The largest picture of an SDXL model.
WHOLE_PIXELS = 2_073_600
TILE_PX = 1024
# Where memory is short: the VAE needs a sixteenth of what it needs for 1024 × 1024 pixels.
SMALL_TILE_PX = 256

# Source: AUTOMATIC1111's stable-diffusion-webui, modules/shared_items.py, latent_upscale_modes.
INTERPOLATIONS: Mapping[Upscaler, Mapping[str, Any]] = {
    Upscaler.LATENT: {"mode": "bilinear", "antialias": False},
    Upscaler.LATENT_ANTIALIASED: {"mode": "bilinear", "antialias": True},
    Upscaler.LATENT_BICUBIC: {"mode": "bicubic", "antialias": False},
    Upscaler.LATENT_BICUBIC_ANTIALIASED: {"mode": "bicubic", "antialias": True},
    Upscaler.LATENT_NEAREST: {"mode": "nearest"},
    Upscaler.LATENT_NEAREST_EXACT: {"mode": "nearest-exact"},
}


def generators(seeds: Sequence[int]) -> list[torch.Generator]:
    """One per picture, on the CPU: so a seed draws the same noise on every device, alone or with others."""
    return [torch.Generator("cpu").manual_seed(seed) for seed in seeds]


def noise(checkpoint: Checkpoint, generators: list[torch.Generator], *, width: int, height: int) -> Tensor:
    """(len(generators), C, h, w) of standard normal noise, in the checkpoint's precision."""
    shape = (len(generators), *latent_shape(checkpoint, width=width, height=height))
    device = checkpoint.device
    drawn: Tensor = randn_tensor(shape, generator=generators, device=device.torch_device, dtype=device.dtype)
    return drawn


def latent_shape(checkpoint: Checkpoint, *, width: int, height: int) -> tuple[int, int, int]:
    """(C, h, w) for a picture of so many pixels. Raises FatalFailure if the model has no such size."""
    space, grid = checkpoint.latent_space, checkpoint.grid_px
    if min(width, height) < grid or width % grid or height % grid:
        wanted = f"width and height must be multiples of {grid}"
        raise FatalFailure(f"{width} x {height}: with model {checkpoint.model.id} {wanted}")
    return space.channels, height // space.factor, width // space.factor


def next_size(checkpoint: Checkpoint, width: int, height: int) -> tuple[int, int]:
    """The least width and height, not under these, that `latent_shape` takes."""
    grid = checkpoint.grid_px
    return -(-width // grid) * grid, -(-height // grid) * grid


def from_picture(
    checkpoint: Checkpoint, picture: Image.Image, *, width: int, height: int, is_short: bool = False
) -> Tensor:
    """Latents (1, C, h, w) of the picture, resized with Lanczos; scaled as the denoiser wants them.

    They are the mean of what the VAE says. diffusers draws a sample by the request's generator instead, but this
    is done once for all seeds; the deviation of Stable Diffusion's VAEs is too small to be seen.
    """
    latent_shape(checkpoint, width=width, height=height)
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    pixels = _to_tensor(picture).to(checkpoint.device.torch_device, checkpoint.vae.dtype)
    with _tiles(checkpoint, width * height, is_short):
        mean = checkpoint.vae.encode(pixels).latent_dist.mode()
    return checkpoint.latent_space.from_vae(mean).to(checkpoint.device.dtype)


def to_pictures(checkpoint: Checkpoint, latents: Tensor, *, is_short: bool = False) -> list[Image.Image]:
    """One RGB picture per latent of (n, C, h, w). One at a time: memory is that of one picture; in small tiles where
    memory is short. Raises FatalFailure for what is no picture."""
    return [_raster(_finite(_decoded(checkpoint, latent, is_short))) for latent in torch.split(latents, 1)]


def _finite(pixels: Tensor) -> Tensor:
    """Else it would become a black picture, and be charged."""
    if not pixels.isfinite().all():
        cause = f"weights of prompts, LoRAs or ControlNets are too strong, or the model overflows in {pixels.dtype}"
        raise FatalFailure(f"the model drew values that are no numbers: {cause}")
    return pixels


def _decoded(checkpoint: Checkpoint, latent: Tensor, is_short: bool) -> Tensor:
    """(3, height, width) around [-1, 1]."""
    scaled = checkpoint.latent_space.to_vae(latent.to(checkpoint.vae.dtype))
    with _tiles(checkpoint, latent[0, 0].numel() * checkpoint.latent_space.factor**2, is_short):
        pixels: Tensor = checkpoint.vae.decode(scaled, return_dict=False)[0][0]
        return pixels


@contextmanager
def _tiles(checkpoint: Checkpoint, pixels: int, is_short: bool) -> Iterator[None]:
    """Lets the VAE work in tiles on what is larger than any DIFFUSION draws: its memory would grow with the picture.

    Tiles overlap by a quarter and are blended. A VAE's norms see a tile alone, so its values differ from those of the
    whole: on the bundled model by 2 of 255 at most on average, and hardly anywhere by more than 4.
    """
    if pixels <= WHOLE_PIXELS and not is_short:
        yield
        return
    vae, factor = checkpoint.vae, checkpoint.latent_space.factor
    tile_px = SMALL_TILE_PX if is_short else TILE_PX
    vae.tile_sample_min_size, vae.tile_latent_min_size = tile_px, tile_px // factor
    vae.enable_tiling()
    try:
        yield
    finally:
        vae.disable_tiling()


def to_previews(checkpoint: Checkpoint, latents: Tensor) -> list[Image.Image]:
    """One small picture per latent, at most 256 pixels on its longer side."""
    shrunk = _shrunk(latents, PREVIEW_SIDE_PX // checkpoint.latent_space.factor)
    return [_raster(_decoded(checkpoint, latent, is_short=False)) for latent in torch.split(shrunk, 1)]


def _shrunk(latents: Tensor, side: int) -> Tensor:
    """`latents` with neither height nor width over `side`, keeping their ratio."""
    longer = max(latents.shape[-2:])
    if longer <= side:
        return latents
    size = [max(1, round(length * side / longer)) for length in latents.shape[-2:]]
    return torch.nn.functional.interpolate(latents, size, mode="area")


def resized_latents(
    checkpoint: Checkpoint, latents: Tensor, upscaler: str, *, width: int, height: int, keeps_ratio: bool
) -> Tensor:
    """(n, C, h, w) for width × height pixels: stretched, or the middle of what is interpolated in its own ratio.

    Source: AUTOMATIC1111's stable-diffusion-webui, modules/processing.py, calculate_target_resolution and
    sample_hr_pass.
    """
    _, rows, columns = latent_shape(checkpoint, width=width, height=height)
    before_rows, before_columns = latents.shape[-2:]
    size = (rows, columns)
    if keeps_ratio:
        size = (max(rows, columns * before_rows // before_columns), max(columns, rows * before_columns // before_rows))
    larger: Tensor = torch.nn.functional.interpolate(latents, size, **INTERPOLATIONS[Upscaler(upscaler)])
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    return larger[..., top : top + rows, left : left + columns]


def small(picture: Image.Image) -> Image.Image:
    """At most 256 pixels on its longer side."""
    reduced = picture.copy()
    reduced.thumbnail((PREVIEW_SIDE_PX, PREVIEW_SIDE_PX))
    return reduced


def _to_tensor(picture: Image.Image) -> Tensor:
    """(1, 3, height, width) in [-1, 1]."""
    pixels = np.array(picture.convert("RGB"), dtype=np.float32) / 255
    return 2 * torch.from_numpy(pixels.transpose(2, 0, 1))[None] - 1


def _raster(pixels: Tensor) -> Image.Image:
    """From (3, height, width) in [-1, 1]; what is outside is cut off."""
    unit = (pixels * 0.5 + 0.5).clamp(0, 1).float()
    bytes_ = (unit * 255).round().to(torch.uint8)
    return Image.fromarray(bytes_.permute(1, 2, 0).contiguous().cpu().numpy())
