"""What guides a denoiser beside its text: ControlNets of UNets and T2I adapters. It loads none, and runs no denoiser.

A ControlNet is asked at each call of the denoiser, an adapter once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from jobs.attachments import ControlMode

# From one level of the denoiser to the next finer one, where the prompt or the picture shall count for more.
# Source: the ControlNet extension of AUTOMATIC1111's web UI, scripts/hook.py, `soft_injection`.
SOFTER = 0.825
# Of SD 1.5, whose last one is as loud as ever. SDXL has the first ten of them, and is softer as a whole.
SOFTENED_LEVELS = 13
# Of an adapter, from the finest level to the coarsest. Source: the same.
SOFTER_OF_ADAPTERS = (0.25, 0.62, 0.825, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """The share of the steps in which it counts."""

    start: float
    end: float

    def is_on(self, begin: float, end: float) -> bool:
        """Whether it counts in the call of the denoiser that goes from this share of the way to that.

        Source: diffusers' StableDiffusionControlNetPipeline.
        """
        return not (begin < self.start or end > self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter(Span):
    """What an adapter saw: `features` are (1, C, h, w), from the finest level of the denoiser to the coarsest."""

    features: Sequence[Tensor]
    mode: ControlMode

    def rows(self, count: int, *, is_guided: bool) -> list[Tensor]:
        """The features for each of `count` rows, of which the first half is the negative prompt's if guided."""
        rows = [each.expand(count, *each.shape[1:]) for each in self.features]
        if not (is_guided and self.mode == "CONTROLNET_IS_MORE_IMPORTANT"):
            return rows
        heard = torch.arange(count, device=rows[0].device) >= count // 2
        return [each * heard.view(-1, 1, 1, 1) for each in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Control(Span):
    """`hint` is (1, 3, height, width) of 0 to 1; `mask`, (1, 1, height, width), says where it counts, None is all."""

    network: Any
    hint: Tensor
    mask: Tensor | None
    weight: float
    mode: ControlMode

    def residuals(
        self, latents: Tensor, timesteps: Tensor, text: Tensor, added: dict[str, Tensor], *, is_guided: bool
    ) -> list[Tensor]:
        """What is added to the UNet's, level by level and the middle last, a row for each of `latents`."""
        skipped = len(latents) // 2 if is_guided and self.mode == "CONTROLNET_IS_MORE_IMPORTANT" else 0
        down, middle = self.network(
            latents[skipped:],
            timesteps[skipped:],
            encoder_hidden_states=text[skipped:],
            controlnet_cond=self.hint.expand(len(latents) - skipped, *self.hint.shape[1:]),
            added_cond_kwargs={name: each[skipped:] for name, each in added.items()},
            return_dict=False,
        )
        levels = [*down, middle]
        weighed = [self._weighed(level, i) for i, level in enumerate(levels)]
        # What the prompt is to avoid does not hear of the picture then.
        return [torch.cat([each.new_zeros(skipped, *each.shape[1:]), each]) for each in weighed] if skipped else weighed

    def _weighed(self, level: Tensor, number: int) -> Tensor:
        softer = 1.0 if self.mode == "BALANCED" else SOFTER ** (SOFTENED_LEVELS - 1 - number)
        weight = self.weight * softer
        return within(self.mask, level * weight)


def within(mask: Tensor | None, level: Tensor) -> Tensor:
    """The level where the mask, of any size, says that it counts."""
    if mask is None:
        return level
    return level * torch.nn.functional.interpolate(mask, level.shape[-2:], mode="area")
