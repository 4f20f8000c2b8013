"""FLUX.1: a transformer that reads T5's states, learned a straight way, and may be told how closely to follow."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import FluxControlNetModel, FluxPipeline
from torch import Tensor

from gpu_worker.engine.architectures.architecture import Call, Encoded
from gpu_worker.engine.course import Course
from gpu_worker.engine.flow import new_flow_scheduler
from gpu_worker.engine.lora_names import of_flux
from gpu_worker.engine.lora_places import place_in_flux
from jobs.catalog import Model
from jobs.errors import FatalFailure

# What it is told where guidance is computed besides. Source: diffusers' FluxPipeline, guidance_scale.
GUIDANCE_BESIDE = 3.5
_TRAINED_STEPS = 1000
_PATCH = 2


class Flux:
    pipeline: Any = FluxPipeline
    unused: Mapping[str, Any] = {"image_encoder": None, "feature_extractor": None}
    denoiser = "transformer"
    controls = (FluxControlNetModel,)
    clips = (1,)
    t5 = 2
    t5_tokens = 512
    patch = _PATCH
    least_clip_skip = 1
    norms_skipped = True
    needs_negative = False
    is_sliceable = False

    def dtype(self, of_device: torch.dtype) -> torch.dtype:
        """It was trained and published in bfloat16, and leaves float16's range."""
        is_better = of_device is torch.float16 and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_better else of_device

    def is_of(self, kind: str) -> bool:
        return kind in ("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline")

    def check(self, model: Model, pipeline: Any) -> None:
        kind = f"model {model.id}: {model.path} is of an unsupported kind"
        channels, latents = pipeline.transformer.config.in_channels, pipeline.vae.config.latent_channels
        if channels != latents * self.patch**2:
            reason = (
                f"its transformer takes {channels} channels, its VAE makes {latents}, in patches of {self.patch} × 2"
            )
            raise FatalFailure(f"{kind}: {reason} (fill or control model?)")
        if pipeline.text_encoder_2 is None:
            raise FatalFailure(f"{kind}: it has no text_encoder_2, which is T5")

    def joined(self, clips: Sequence[Encoded], long: Tensor | None) -> Encoded:
        """T5's states; of CLIP only the pooled text is read."""
        assert long is not None
        pooled = clips[0].pooled
        return Encoded(long, None if pooled is None else pooled[:1])

    def scheduler(self, config: Mapping[str, Any], course: Course) -> Any:
        return new_flow_scheduler(config, course, patch=self.patch, ends_at_a_step=True)

    def lora_in_diffusers(self, denoiser: Any, named: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return of_flux(named)

    def lora_place(self, denoiser: Any, layer: str) -> str:
        return place_in_flux(layer)

    def added(
        self, denoiser: Any, pooled: Tensor | None, *, size: tuple[int, int], guidance_scale: float | None
    ) -> dict[str, Tensor]:
        """Those that were not distilled for guidance are told nothing of it."""
        if pooled is None:
            return {}
        told = {"pooled_projections": pooled}
        if denoiser.config.guidance_embeds:
            guidance = GUIDANCE_BESIDE if guidance_scale is None else guidance_scale
            told["guidance"] = torch.full((len(pooled),), guidance, device=pooled.device, dtype=torch.float32)
        return told

    def answer(self, denoiser: Any, call: Call) -> Tensor:
        rows, _, height, width = call.latents.shape
        answered: Tensor = denoiser(
            hidden_states=packed(call.latents),
            timestep=call.timesteps.to(call.latents.dtype) / _TRAINED_STEPS,
            encoder_hidden_states=call.text,
            txt_ids=call.text.new_zeros(call.text.shape[1], 3),
            img_ids=places(height // self.patch, width // self.patch).to(call.latents),
            **call.added,
            **self._guided(denoiser, call.levels),
            return_dict=False,
        )[0]
        parts = answered.view(rows, height // self.patch, width // self.patch, -1, self.patch, self.patch)
        return parts.permute(0, 3, 1, 4, 2, 5).reshape(call.latents.shape)

    def _guided(self, denoiser: Any, levels: Sequence[Tensor]) -> dict[str, Any]:
        doubles = len(denoiser.transformer_blocks)
        names = ("controlnet_block_samples", "controlnet_single_block_samples")
        return dict(zip(names, (levels[:doubles], levels[doubles:]), strict=True)) if levels else {}


def packed(latents: Tensor) -> Tensor:
    """(rows, tokens, 4 C): a token for each 2 × 2 latents, a row of them after the other."""
    rows, channels, height, width = latents.shape
    parts = latents.reshape(rows, channels, height // _PATCH, _PATCH, width // _PATCH, _PATCH)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(rows, -1, channels * _PATCH**2)


def places(height: int, width: int) -> Tensor:
    """(tokens, 3): nothing, row and column of each."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([torch.zeros_like(rows), rows, columns], dim=-1).flatten(0, 1)
