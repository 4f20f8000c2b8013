"""What one family's networks want that another's do not. The rest of the engine asks here, and for no family."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from gpu_worker.engine.course import Course
from jobs.catalog import Model


@dataclass(frozen=True, slots=True)
class Encoded:
    """`states` is (chunks, window, width); `pooled` is (chunks, projection), or None."""

    states: Tensor
    pooled: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What the denoiser is given: all of it has a row for each of `latents`, (rows, C, h, w).

    `levels` is what ControlNets add to its levels or blocks, `features` what adapters do; empty where there are none.
    """

    latents: Tensor
    timesteps: Tensor
    text: Tensor
    added: Mapping[str, Tensor]
    levels: Sequence[Tensor]
    features: Sequence[Tensor]


class Architecture(Protocol):
    """`pipeline` is diffusers' class, `unused` its parts that are not loaded, `denoiser` the name of that part.

    `controls` are diffusers' classes of what guides it.
    `clips` are the numbers of its parts that are CLIP's text encoders: 1 is `text_encoder`, 2 is `text_encoder_2`;
    `t5` is that of T5's, or None, and `t5_tokens` its window. `patch` latents of width or height are one to the
    denoiser. `least_clip_skip` is what the denoiser was trained with; below the last layer CLIP's states are normed
    where `norms_skipped`. A model that `needs_negative` is guided away from an empty text too.
    """

    @property
    def pipeline(self) -> Any: ...

    @property
    def unused(self) -> Mapping[str, Any]: ...

    @property
    def denoiser(self) -> str: ...

    @property
    def controls(self) -> tuple[Any, ...]: ...

    @property
    def clips(self) -> tuple[int, ...]: ...

    @property
    def t5(self) -> int | None: ...

    @property
    def t5_tokens(self) -> int: ...

    @property
    def patch(self) -> int: ...

    @property
    def least_clip_skip(self) -> int: ...

    @property
    def norms_skipped(self) -> bool: ...

    @property
    def needs_negative(self) -> bool: ...

    @property
    def is_sliceable(self) -> bool:
        """Whether its attention can be computed in slices."""

    def dtype(self, of_device: torch.dtype) -> torch.dtype:
        """In which it computes where the device prefers `of_device`."""

    def is_of(self, kind: str) -> bool:
        """Whether a folder holds this architecture whose index names this class."""

    def check(self, model: Model, pipeline: Any) -> None:
        """Raises FatalFailure for relatives that the denoising loop would run wrongly."""

    def joined(self, clips: Sequence[Encoded], long: Tensor | None) -> Encoded:
        """What the denoiser reads: (1, tokens, width) of all encoders, and the first chunk's pooled texts.

        `long` is (1, tokens, width), T5's.
        """

    def scheduler(self, config: Mapping[str, Any], course: Course) -> Any:
        """A fresh scheduler, its timesteps set.

        Raises FatalFailure for a sampler or schedule that does not go with it.
        """

    def lora_in_diffusers(self, denoiser: Any, named: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """A LoRA's tensors by kohya's names of diffusers' layers; in `named` some may be of the original layout's.

        Raises ValueError, or what diffusers raises, where they are of no such model.
        """

    def lora_place(self, denoiser: Any, layer: str) -> str:
        """Where a layer of kohya's name stands in block weights."""

    def added(
        self, denoiser: Any, pooled: Tensor | None, *, size: tuple[int, int], guidance_scale: float | None
    ) -> dict[str, Tensor]:
        """What the denoiser is told besides the prompt, a row for each of `pooled`.

        `size` is height and width in pixels; `guidance_scale` is None where guidance is computed.
        """

    def answer(self, denoiser: Any, call: Call) -> Tensor:
        """What the denoiser says, (rows, C, h, w)."""
