"""Stable Diffusion 3 and 3.5: a transformer that reads CLIP's states and T5's, and learned a straight way."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from diffusers import SD3ControlNetModel, StableDiffusion3Pipeline
from torch import Tensor
from torch.nn import functional

from gpu_worker.engine.architectures.architecture import Call, Encoded
from gpu_worker.engine.course import Course
from gpu_worker.engine.flow import new_flow_scheduler
from gpu_worker.engine.lora_names import of_sd3
from jobs.block_weights import BASE
from jobs.catalog import Model
from jobs.errors import FatalFailure


class StableDiffusion3:
    pipeline: Any = StableDiffusion3Pipeline
    unused: Mapping[str, Any] = {"image_encoder": None, "feature_extractor": None}
    denoiser = "transformer"
    controls = (SD3ControlNetModel,)
    clips = (1, 2)
    t5 = 3
    t5_tokens = 256
    patch = 2
    least_clip_skip = 2
    norms_skipped = False
    needs_negative = True
    is_sliceable = False

    def dtype(self, of_device: torch.dtype) -> torch.dtype:
        return of_device

    def is_of(self, kind: str) -> bool:
        return kind.startswith("StableDiffusion3")

    def check(self, model: Model, pipeline: Any) -> None:
        transformer, vae = pipeline.transformer.config, pipeline.vae.config
        if transformer.in_channels != vae.latent_channels:
            reason = f"its transformer takes {transformer.in_channels} channels, its VAE makes {vae.latent_channels}"
            raise FatalFailure(f"model {model.id}: {model.path} is of an unsupported kind: {reason}")

    def joined(self, clips: Sequence[Encoded], long: Tensor | None) -> Encoded:
        """CLIP's states side by side and filled up with zeros, then T5's; pooled by both of CLIP.

        Source: Esser et al. 2024, arXiv:2403.03206, appendix B.
        """
        assert long is not None
        states = torch.cat([part.states for part in clips], dim=-1)
        row = states.reshape(1, -1, states.shape[-1])
        filled = functional.pad(row, (0, long.shape[-1] - row.shape[-1]))
        pooled = torch.cat([part.pooled[:1] for part in clips if part.pooled is not None], dim=-1)
        return Encoded(torch.cat([filled, long], dim=1), pooled)

    def scheduler(self, config: Mapping[str, Any], course: Course) -> Any:
        return new_flow_scheduler(config, course, patch=self.patch, ends_at_a_step=False)

    def lora_in_diffusers(self, denoiser: Any, named: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return of_sd3(named, blocks=denoiser.config.num_layers)

    def lora_place(self, denoiser: Any, layer: str) -> str:
        """Nobody has numbered its blocks."""
        return BASE

    def added(
        self, denoiser: Any, pooled: Tensor | None, *, size: tuple[int, int], guidance_scale: float | None
    ) -> dict[str, Tensor]:
        return {} if pooled is None else {"pooled_projections": pooled}

    def answer(self, denoiser: Any, call: Call) -> Tensor:
        rows: Tensor = denoiser(
            hidden_states=call.latents,
            timestep=call.timesteps,
            encoder_hidden_states=call.text,
            block_controlnet_hidden_states=call.levels or None,
            **call.added,
            return_dict=False,
        )[0]
        return rows
