"""ControlNets: networks that look at a picture and tell the denoiser of it. It runs no denoiser."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel
from PIL import Image
from torch import Tensor

from gpu_worker.engine.checkpoint import Checkpoint, ready
from gpu_worker.engine.device import Device
from gpu_worker.engine.inpainting import resized
from gpu_worker.engine.network import open_network
from jobs.attachments import ControlMode, ControlNet
from jobs.catalog import Model
from jobs.errors import FatalFailure
from jobs.preprocessing import preprocessed

# From one level of the denoiser to the next finer one, where the prompt or the picture shall count for more.
# Source: the ControlNet extension of AUTOMATIC1111's web UI, `soft_injection`.
SOFTER = 0.825


@dataclass(frozen=True, slots=True)
class ControlNetwork:
    model: Model
    network: Any

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.network.parameters())


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`hint` is (1, 3, height, width) of 0 to 1; `mask`, (1, 1, height, width), says where it counts, None is all."""

    network: Any
    hint: Tensor
    mask: Tensor | None
    weight: float
    start: float
    end: float
    mode: ControlMode

    def is_on(self, begin: float, end: float) -> bool:
        """Whether it counts in the call of the UNet that goes from this share of the way to that.

        Source: diffusers' StableDiffusionControlNetPipeline.
        """
        return not (begin < self.start or end > self.end)

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
        weighed = [self._weighed(level, len(levels) - 1 - i) for i, level in enumerate(levels)]
        # What the prompt is to avoid does not hear of the picture then.
        return [torch.cat([each.new_zeros(skipped, *each.shape[1:]), each]) for each in weighed] if skipped else weighed

    def _weighed(self, level: Tensor, before_last: int) -> Tensor:
        weight = self.weight if self.mode == "BALANCED" else self.weight * SOFTER**before_last
        if self.mask is None:
            return level * weight
        return level * weight * torch.nn.functional.interpolate(self.mask, level.shape[-2:], mode="area")


def load_controlnet(model: Model, device: Device) -> ControlNetwork:
    """Raises FatalFailure, naming the model and the file, if it is missing or damaged."""
    return ControlNetwork(model, ready(open_network(model, ControlNetModel, device.dtype), device))


def check_fits(control: ControlNetwork, checkpoint: Checkpoint) -> None:
    """Raises FatalFailure where its network was made for another family's denoiser."""
    theirs, ours = control.network.config, checkpoint.denoiser.config
    for name in ("cross_attention_dim", "block_out_channels", "in_channels"):
        if _plain(theirs[name]) != _plain(ours[name]):
            raise FatalFailure(
                f"ControlNet {control.model.id} was made for another checkpoint: its {name} is {theirs[name]}, "
                f"that of {checkpoint.model.id} is {ours[name]}"
            )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) else value


def new_control(
    network: ControlNetwork,
    checkpoint: Checkpoint,
    controlnet: ControlNet,
    *,
    picture: Image.Image,
    mask: Image.Image | None,
    width: int,
    height: int,
) -> Control:
    """The picture is brought to the size of the drawing first, and looked at then."""
    fitted = resized(picture.convert("RGB"), width, height, controlnet.resize_mode)
    hint = preprocessed(
        fitted,
        controlnet.preprocessor,
        controlnet.preprocessor_params,
        pixel_perfect=controlnet.pixel_perfect,
    )
    where = None if mask is None else resized(mask.convert("L"), width, height, controlnet.resize_mode)
    return Control(
        network=network.network,
        hint=_unit(hint, checkpoint),
        mask=None if where is None else _unit(where, checkpoint),
        weight=controlnet.weight,
        start=controlnet.guidance_start,
        end=controlnet.guidance_end,
        mode=controlnet.control_mode,
    )


def _unit(picture: Image.Image, checkpoint: Checkpoint) -> Tensor:
    """(1, channels, height, width) of 0 to 1."""
    pixels = np.asarray(picture, np.float32) / 255
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(channels))[None].to(
        checkpoint.device.torch_device, checkpoint.device.dtype
    )
