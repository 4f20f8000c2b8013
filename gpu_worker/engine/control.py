"""ControlNets and T2I adapters: networks that look at a picture and tell the denoiser of it. It runs no denoiser.

A ControlNet is asked at each call of the denoiser, an adapter once.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, T2IAdapter
from PIL import Image
from torch import Tensor

from gpu_worker.engine.checkpoint import Checkpoint, ready
from gpu_worker.engine.device import Device
from gpu_worker.engine.inpainting import resized
from gpu_worker.engine.network import open_network
from jobs.attachments import ControlMode, ControlNet
from jobs.catalog import Family, Model
from jobs.errors import FatalFailure

# From one level of the denoiser to the next finer one, where the prompt or the picture shall count for more.
# Source: the ControlNet extension of AUTOMATIC1111's web UI, scripts/hook.py, `soft_injection`.
SOFTER = 0.825
# Of SD 1.5, whose last one is as loud as ever. SDXL has the first ten of them, and is softer as a whole.
SOFTENED_LEVELS = 13
# Of an adapter, from the finest level to the coarsest. Source: the same.
SOFTER_OF_ADAPTERS = (0.25, 0.62, 0.825, 1.0)


@dataclass(frozen=True, slots=True)
class ControlNetwork:
    model: Model
    network: Any

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.network.parameters())


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
        return _within(self.mask, level * weight)


def _within(mask: Tensor | None, level: Tensor) -> Tensor:
    if mask is None:
        return level
    return level * torch.nn.functional.interpolate(mask, level.shape[-2:], mode="area")


def load_controlnet(model: Model, device: Device) -> ControlNetwork:
    """Raises FatalFailure, naming the model and the file, if it is missing or damaged."""
    network = T2IAdapter if _is_adapter(model) else ControlNetModel
    return ControlNetwork(model, ready(open_network(model, network, device.dtype), device))


def _is_adapter(model: Model) -> bool:
    """As its folder says; one file is a ControlNet."""
    config = model.path / "config.json"
    try:
        return bool(json.loads(config.read_text())["_class_name"] == T2IAdapter.__name__)
    except (OSError, ValueError, LookupError, TypeError):
        # What is wrong with it is said where it is opened.
        return False


def check_fits(control: ControlNetwork, checkpoint: Checkpoint) -> None:
    """Raises FatalFailure where its network was made for another family's denoiser."""
    if isinstance(control.network, T2IAdapter):
        _check_adapter_fits(control, checkpoint)
        return
    theirs, ours = control.network.config, checkpoint.denoiser.config
    for name in ("cross_attention_dim", "block_out_channels", "in_channels"):
        if _plain(theirs[name]) != _plain(ours[name]):
            raise FatalFailure(
                f"ControlNet {control.model.id} was made for another checkpoint: its {name} is {theirs[name]}, "
                f"that of {checkpoint.model.id} is {ours[name]}"
            )


def _check_adapter_fits(control: ControlNetwork, checkpoint: Checkpoint) -> None:
    theirs, ours = control.network.config, checkpoint.denoiser.config
    blocks = list(ours.block_out_channels)
    is_xl = theirs.adapter_type == "full_adapter_xl"
    if list(theirs.channels)[: len(blocks)] != blocks or is_xl != (checkpoint.family is Family.SDXL):
        raise FatalFailure(
            f"ControlNet {control.model.id} was made for another checkpoint: it is a {theirs.adapter_type} of the "
            f"channels {theirs.channels}, {checkpoint.model.id} is of {checkpoint.family} and has {blocks}"
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
    preprocess: Callable[[Image.Image], Image.Image],
) -> Control | Adapter:
    """The picture is brought to the size of the drawing first, and looked at then."""
    fitted = resized(picture.convert("RGB"), width, height, controlnet.resize_mode)
    hint = preprocess(fitted)
    where = None if mask is None else resized(mask.convert("L"), width, height, controlnet.resize_mode)
    unit_mask = None if where is None else _unit(where, checkpoint)
    if isinstance(network.network, T2IAdapter):
        return _adapter(network.network, checkpoint, controlnet, hint, unit_mask)
    return Control(
        network=network.network,
        hint=_unit(hint, checkpoint),
        mask=unit_mask,
        weight=controlnet.weight,
        start=controlnet.guidance_start,
        end=controlnet.guidance_end,
        mode=controlnet.control_mode,
    )


def _adapter(
    network: Any, checkpoint: Checkpoint, controlnet: ControlNet, hint: Image.Image, mask: Tensor | None
) -> Adapter:
    gray_or_not = hint.convert("L") if network.config.in_channels == 1 else hint
    grain = network.config.downscale_factor
    width, height = (-(-side // grain) * grain for side in hint.size)
    if (width, height) != hint.size:
        # It sees whole grains, as many as the denoiser has places at that level.
        gray_or_not = gray_or_not.resize((width, height), Image.Resampling.LANCZOS)
    levels = network(_unit(gray_or_not, checkpoint))
    softer = SOFTER_OF_ADAPTERS if controlnet.control_mode != "BALANCED" else (1.0,) * len(levels)
    # One of fewer levels lacks the finest.
    scales = softer[-len(levels) :]
    return Adapter(
        features=[
            _within(mask, level * controlnet.weight * scale) for level, scale in zip(levels, scales, strict=True)
        ],
        mode=controlnet.control_mode,
        start=controlnet.guidance_start,
        end=controlnet.guidance_end,
    )


def _unit(picture: Image.Image, checkpoint: Checkpoint) -> Tensor:
    """(1, channels, height, width) of 0 to 1."""
    pixels = np.asarray(picture, np.float32) / 255
    channels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    return torch.from_numpy(np.ascontiguousarray(channels))[None].to(
        checkpoint.device.torch_device, checkpoint.device.dtype
    )
