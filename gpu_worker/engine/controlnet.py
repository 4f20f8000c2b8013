"""ControlNets and T2I adapters: from files to networks, and from a picture to what guides. It asks no network.

Which network a folder holds, its config says.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from diffusers import ControlNetModel, FluxControlNetModel, SD3ControlNetModel, T2IAdapter
from PIL import Image
from torch import Tensor

from gpu_worker.engine.architectures.flux import packed
from gpu_worker.engine.checkpoint import Checkpoint, ready
from gpu_worker.engine.control import SOFTER_OF_ADAPTERS, Adapter, Control, within
from gpu_worker.engine.device import Device
from gpu_worker.engine.flow_control import UNION_MODES, FluxControl, Sd3Control, sees_unmoved
from gpu_worker.engine.inpainting import resized
from gpu_worker.engine.latents import from_picture
from gpu_worker.engine.network import open_network
from jobs.attachments import ControlNet
from jobs.catalog import Family, Model
from jobs.errors import FatalFailure
from jobs.names import quoted

_CLASSES = {kind.__name__: kind for kind in (ControlNetModel, SD3ControlNetModel, FluxControlNetModel, T2IAdapter)}
_OF_TRANSFORMERS = ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim")
# What a ControlNet's config and the denoiser's must both say.
_ALIKE: Mapping[Any, Sequence[str]] = {
    ControlNetModel: ("cross_attention_dim", "block_out_channels", "in_channels"),
    SD3ControlNetModel: (*_OF_TRANSFORMERS, "pooled_projection_dim"),
    FluxControlNetModel: (*_OF_TRANSFORMERS, "pooled_projection_dim", "axes_dims_rope"),
}


@dataclass(frozen=True, slots=True)
class ControlNetwork:
    model: Model
    network: Any

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.network.parameters())


def load_controlnet(model: Model, device: Device) -> ControlNetwork:
    """Raises FatalFailure, naming the model and the file, if it is missing or damaged."""
    # In diffusers 0.42 SD 3's stays in the precision of its file, whatever is asked for.
    network = open_network(model, _class_of(model), device.dtype).to(device.dtype)
    return ControlNetwork(model, ready(network, device))


def _class_of(model: Model) -> Any:
    """As its folder says, or of one file the folder that is its config; else it is a ControlNet of a UNet."""
    folder = model.path if model.path.is_dir() else model.config_path
    try:
        return _CLASSES[json.loads((folder or model.path).joinpath("config.json").read_text())["_class_name"]]
    except (OSError, ValueError, LookupError, TypeError):
        # What is wrong with it is said where it is opened.
        return ControlNetModel


def check_fits(control: ControlNetwork, checkpoint: Checkpoint) -> None:
    """Raises FatalFailure where its network was made for another family's denoiser."""
    if not isinstance(control.network, checkpoint.architecture.controls):
        known = " or ".join(kind.__name__ for kind in checkpoint.architecture.controls)
        raise FatalFailure(
            f"ControlNet {control.model.id} was made for another checkpoint: it is a {type(control.network).__name__}, "
            f"{checkpoint.model.id} is of {checkpoint.family} and takes a {known}"
        )
    if isinstance(control.network, T2IAdapter):
        _check_adapter_fits(control, checkpoint)
        return
    theirs, ours = control.network.config, checkpoint.denoiser.config
    for name in _ALIKE[type(control.network)]:
        # What one has not it does not read.
        if theirs[name] is not None and _plain(theirs[name]) != _plain(ours[name]):
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
    is_short: bool = False,
) -> Control | Adapter:
    """The picture is brought to the size of the drawing first, and looked at then; in small tiles where memory
    `is_short`. Raises FatalFailure for what this kind of network has not."""
    fitted = resized(picture.convert("RGB"), width, height, controlnet.resize_mode)
    hint = preprocess(fitted)
    where = None if mask is None else resized(mask.convert("L"), width, height, controlnet.resize_mode)
    unit_mask = None if where is None else _unit(where, checkpoint)
    if isinstance(network.network, T2IAdapter):
        return _adapter(network.network, checkpoint, controlnet, hint, unit_mask)
    told: dict[str, Any] = {
        "network": network.network,
        "mask": unit_mask,
        "weight": controlnet.weight,
        "start": controlnet.guidance_start,
        "end": controlnet.guidance_end,
        "mode": controlnet.control_mode,
    }
    if isinstance(network.network, ControlNetModel):
        return Control(hint=_unit(hint, checkpoint), **told)
    _check_flow(network, controlnet)
    told |= {"denoiser": checkpoint.denoiser}
    if isinstance(network.network, SD3ControlNetModel):
        return Sd3Control(hint=_latents(checkpoint, hint, is_short, is_moved=not sees_unmoved(network.network)), **told)
    kind = _kind(network, controlnet)
    if network.network.input_hint_block is not None:
        return FluxControl(hint=2 * _unit(hint, checkpoint) - 1, kind=kind, **told)
    return FluxControl(hint=packed(_latents(checkpoint, hint, is_short)), kind=kind, **told)


def _latents(checkpoint: Checkpoint, hint: Image.Image, is_short: bool, *, is_moved: bool = True) -> Tensor:
    """Of the mean of what the VAE says, as initial pictures are."""
    space = checkpoint.latent_space if is_moved else replace(checkpoint.latent_space, shift=None)
    seeing = replace(checkpoint, latent_space=space)
    return from_picture(seeing, hint, width=hint.width, height=hint.height, is_short=is_short)


def _check_flow(network: ControlNetwork, controlnet: ControlNet) -> None:
    if controlnet.control_mode != "BALANCED":
        reason = f"{controlnet.control_mode} is made of the levels of a UNet, which SD3 and FLUX have not"
        raise FatalFailure(f"ControlNet {network.model.id} can only be BALANCED: {reason}")
    if network.network.config.get("extra_conditioning_channels"):
        raise FatalFailure(f"ControlNet {network.model.id} is for inpainting: it wants a mask beside its picture")


def _kind(network: ControlNetwork, controlnet: ControlNet) -> int | None:
    """What the picture shows, as the network numbers it; None for one that knows only one kind."""
    most = network.network.config.num_mode
    if most is None:
        return None
    kinds = {each: number for each, number in UNION_MODES.items() if number < most}
    if controlnet.preprocessor not in kinds:
        known = quoted(kinds)
        reason = f"it must be told what the picture shows, and {controlnet.preprocessor.value!r} does not say so"
        raise FatalFailure(f"ControlNet {network.model.id} knows several kinds: {reason}; it knows {known}")
    return kinds[controlnet.preprocessor]


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
        features=[within(mask, level * controlnet.weight * scale) for level, scale in zip(levels, scales, strict=True)],
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
