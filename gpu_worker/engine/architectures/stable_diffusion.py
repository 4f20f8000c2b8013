"""Stable Diffusion 1.5, 2 and XL: a UNet that reads CLIP's states."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionPipeline, StableDiffusionXLPipeline, T2IAdapter
from torch import Tensor

from gpu_worker.engine.architectures.architecture import Call, Encoded
from gpu_worker.engine.course import Course
from gpu_worker.engine.lora_names import of_unet
from gpu_worker.engine.lora_places import place_in_unet
from gpu_worker.engine.samplers import new_scheduler
from jobs.catalog import Model
from jobs.errors import FatalFailure


class StableDiffusion:
    pipeline: Any = StableDiffusionPipeline
    unused: Mapping[str, Any] = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    denoiser = "unet"
    controls: tuple[Any, ...] = (ControlNetModel, T2IAdapter)
    clips: tuple[int, ...] = (1,)
    t5 = None
    t5_tokens = 0
    patch = 1
    least_clip_skip = 1
    norms_skipped = True
    needs_negative = True
    is_sliceable = True

    def dtype(self, of_device: torch.dtype) -> torch.dtype:
        return of_device

    def is_of(self, kind: str) -> bool:
        return kind.startswith("StableDiffusion") and not kind.startswith(("StableDiffusionXL", "StableDiffusion3"))

    def check(self, model: Model, pipeline: Any) -> None:
        unet, vae = pipeline.unet.config, pipeline.vae.config
        kind = f"model {model.id}: {model.path} is of an unsupported kind"
        if unet.in_channels != vae.latent_channels:
            reason = f"its UNet takes {unet.in_channels} channels, its VAE makes {vae.latent_channels}"
            raise FatalFailure(f"{kind}: {reason} (inpainting model?)")
        if unet.get("time_cond_proj_dim") is not None:
            raise FatalFailure(f"{kind}: guidance is distilled into it")

    def joined(self, clips: Sequence[Encoded], long: Tensor | None) -> Encoded:
        """Several encoders' states side by side; pooled by the last, the only one that has a projection."""
        states = torch.cat([part.states for part in clips], dim=-1)
        pooled = clips[-1].pooled
        return Encoded(states.reshape(1, -1, states.shape[-1]), None if pooled is None else pooled[:1])

    def scheduler(self, config: Mapping[str, Any], course: Course) -> Any:
        return new_scheduler(
            course.sampler,
            config,
            steps=course.steps,
            seeds=course.seeds,
            device=course.device,
            schedule=course.schedule,
        )

    def lora_in_diffusers(self, denoiser: Any, named: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return of_unet(named, layers_per_block=denoiser.config.layers_per_block)

    def lora_place(self, denoiser: Any, layer: str) -> str:
        return place_in_unet(layer, denoiser.config.layers_per_block)

    def added(
        self, denoiser: Any, pooled: Tensor | None, *, size: tuple[int, int], guidance_scale: float | None
    ) -> dict[str, Tensor]:
        return {}

    def answer(self, denoiser: Any, call: Call) -> Tensor:
        rows: Tensor = denoiser(
            call.latents,
            call.timesteps,
            encoder_hidden_states=call.text,
            added_cond_kwargs=dict(call.added),
            **_guided(call),
            return_dict=False,
        )[0]
        return rows


def _guided(call: Call) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if call.levels:
        *down, middle = call.levels
        told |= {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": middle}
    if call.features:
        told["down_intrablock_additional_residuals"] = list(call.features)
    return told


class StableDiffusionXL(StableDiffusion):
    pipeline = StableDiffusionXLPipeline
    unused: Mapping[str, Any] = {"add_watermarker": False}
    clips = (1, 2)
    least_clip_skip = 2
    norms_skipped = False

    def is_of(self, kind: str) -> bool:
        return kind.startswith("StableDiffusionXL")

    def added(
        self, denoiser: Any, pooled: Tensor | None, *, size: tuple[int, int], guidance_scale: float | None
    ) -> dict[str, Tensor]:
        """Pooled texts, and `size` as original and as target.

        Source: Podell et al. 2023, arXiv:2307.01952, section 2.2.
        """
        if pooled is None:
            return {}
        uncropped = (0, 0)
        return {"text_embeds": pooled, "time_ids": pooled.new_tensor([*size, *uncropped, *size]).repeat(len(pooled), 1)}
