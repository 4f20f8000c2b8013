"""Denoising that keeps what is not masked. It takes no step itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from jobs.inpainting import Fill, Masking


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """`mask` is (1, 1, h, w), 1 where the latents may change and else 0; `start` and `noise` are (n, C, h, w)."""

    mask: Tensor
    start: Tensor
    noise: Tensor

    def within(self, latents: Tensor, scheduler: Any, timestep: Tensor | None) -> Tensor:
        """`latents` where they may change, and around them the start at the noise of this timestep: None is the end.

        Source: diffusers' StableDiffusionInpaintPipeline on a UNet of four channels.
        """
        around = self.start
        if timestep is not None:
            around = scheduler.add_noise(around, self.noise, timestep.expand(len(around)))
        return (1 - self.mask) * around + self.mask * latents


def kept_of(start: Tensor, noise: Tensor, masking: Masking) -> Kept:
    mask = latent_mask(masking.mask, noise.shape).to(noise)
    return Kept(mask=mask, start=_filled(start.expand_as(noise), noise, mask, masking.fill), noise=noise)


def latent_mask(mask: Any, shape: Sequence[int]) -> Tensor:
    """(1, 1, h, w) of 0 and 1."""
    size = (shape[-1], shape[-2])
    small = cast(Image.Image, mask).convert("L").resize(size, Image.Resampling.BICUBIC)
    return torch.from_numpy(np.around(np.asarray(small, np.float32) / 255))[None, None]


def _filled(start: Tensor, noise: Tensor, mask: Tensor, fill: Fill) -> Tensor:
    match fill:
        case "LATENT_NOISE":
            return start * (1 - mask) + noise * mask
        case "LATENT_NOTHING":
            return start * (1 - mask)
        case _:
            return start
