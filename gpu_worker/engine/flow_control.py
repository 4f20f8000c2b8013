"""ControlNets of SD 3 and FLUX: what they add to the blocks of a transformer. They load nothing.

They see a picture as the VAE does, and have no levels, so no prompt and no picture counts for more at some of them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from gpu_worker.engine.architectures.flux import GUIDANCE_BESIDE, packed, places
from gpu_worker.engine.control import Control
from jobs.preprocessors import Preprocessor

# How those that know several kinds of pictures number them. Source: the card of InstantX's FLUX.1-dev-Controlnet-Union,
# which knows what is of low quality (6) too.
UNION_MODES: Mapping[Preprocessor, int] = {
    Preprocessor.CANNY: 0,
    Preprocessor.TILE: 1,
    Preprocessor.DEPTH: 2,
    Preprocessor.BLUR: 3,
    **{each: 4 for each in Preprocessor if each.startswith("openpose")},
    Preprocessor.LUMINANCE: 5,
    Preprocessor.INTENSITY: 5,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sd3Control(Control):
    """`hint` is what the VAE says of the picture, (1, C, h, w). `denoiser` is the one that it guides."""

    denoiser: Any

    def residuals(
        self, latents: Tensor, timesteps: Tensor, text: Tensor, added: dict[str, Tensor], *, is_guided: bool
    ) -> list[Tensor]:
        """What is added to each of the transformer's blocks, (rows, tokens, width).

        Source: diffusers' StableDiffusion3ControlNetPipeline and SD3Transformer2DModel.
        """
        network, pooled = self.network, added["pooled_projections"]
        told = network(
            # The largest has none of these two itself, and takes what the transformer made.
            hidden_states=latents if network.config.use_pos_embed else self.denoiser.pos_embed(latents),
            encoder_hidden_states=None if network.context_embedder is None else text,
            pooled_projections=torch.zeros_like(pooled) if sees_unmoved(network) else pooled,
            controlnet_cond=self.hint.expand(len(latents), *self.hint.shape[1:]),
            timestep=timesteps,
            return_dict=False,
        )[0]
        blocks, grid = len(self.denoiser.transformer_blocks), self.denoiser.config.patch_size
        where = _of_tokens(self.mask, latents, grid)
        weighed = [each * self.weight * where for each in told]
        return [weighed[int(i / (blocks / len(weighed)))] for i in range(blocks)]


def sees_unmoved(network: Any) -> bool:
    """Whether it was trained with latents that are not moved, and no pooled text."""
    return bool(network.config.force_zeros_for_pooled_projection)


@dataclass(frozen=True, slots=True, kw_only=True)
class FluxControl(Control):
    """`hint` is what the VAE says of the picture, a token to a place, or the picture itself, of -1 to 1, for those that
    look at it. `denoiser` is the one that it guides; `kind` is the number of what the picture shows, for those that
    know several."""

    denoiser: Any
    kind: int | None

    def residuals(
        self, latents: Tensor, timesteps: Tensor, text: Tensor, added: dict[str, Tensor], *, is_guided: bool
    ) -> list[Tensor]:
        """What is added to each of the transformer's double blocks and then its single ones, (rows, tokens, width).

        It is asked with the wanted text alone, and its answer is told to what is avoided too.
        Source: diffusers' FluxControlNetPipeline and FluxTransformer2DModel.
        """
        wanted = slice(len(latents) // 2 if is_guided else 0, None)
        doubles, singles = self.network(
            timestep=timesteps[wanted].to(latents.dtype) / 1000,
            encoder_hidden_states=text[wanted],
            txt_ids=text.new_zeros(text.shape[1], 3),
            pooled_projections=added["pooled_projections"][wanted],
            guidance=self._guidance(timesteps, added)[wanted] if self.network.config.guidance_embeds else None,
            return_dict=False,
            **self._seen(latents[wanted]),
        )
        is_repeated, grid = self.network.input_hint_block is not None, 2
        where = _of_tokens(self.mask, latents, grid)
        parts = ((doubles, self.denoiser.transformer_blocks), (singles, self.denoiser.single_transformer_blocks))
        none = self.hint.new_zeros(1, 1, 1).expand(len(latents), where.shape[1], self.denoiser.inner_dim)
        return [
            each
            for told, blocks in parts
            for each in _spread(self._weighed_tokens(told, where, len(latents)), len(blocks), none, is_repeated)
        ]

    def _seen(self, latents: Tensor) -> dict[str, Any]:
        height, width = latents.shape[-2:]
        rows = len(latents)
        kind = None if self.kind is None else torch.full((rows, 1), self.kind, device=latents.device)
        return {
            "hidden_states": packed(latents),
            "img_ids": places(height // 2, width // 2).to(latents),
            "controlnet_cond": self.hint.expand(rows, *self.hint.shape[1:]),
            "controlnet_mode": kind,
        }

    def _guidance(self, timesteps: Tensor, added: Mapping[str, Tensor]) -> Tensor:
        """A denoiser that was not distilled is not told; this one may have been."""
        return added.get("guidance", torch.full_like(timesteps, GUIDANCE_BESIDE))

    def _weighed_tokens(self, told: Sequence[Tensor] | None, where: Tensor, rows: int) -> list[Tensor]:
        weighed = [each * self.weight * where for each in told or ()]
        return [each.repeat(rows // len(each), 1, 1) for each in weighed]


def _spread(told: Sequence[Tensor], blocks: int, none: Tensor, is_repeated: bool) -> list[Tensor]:
    """A ControlNet has fewer blocks than the denoiser: each serves several, one after the other or in turns."""
    if not told:
        return [none] * blocks
    several = math.ceil(blocks / len(told))
    return [told[i % len(told) if is_repeated else i // several] for i in range(blocks)]


def _of_tokens(mask: Tensor | None, latents: Tensor, patch: int) -> Tensor:
    """(1, tokens, 1): how far each counts."""
    height, width = latents.shape[-2] // patch, latents.shape[-1] // patch
    if mask is None:
        return latents.new_ones(1, height * width, 1)
    return functional.interpolate(mask, (height, width), mode="area").flatten(2).transpose(1, 2)
