"""From files to networks: loads a diffusers folder or one original-layout file. It caches nothing.

Only safetensors are read, and no model hub is asked for a local path.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from diffusers.utils.import_utils import is_accelerate_available
from torch import Tensor
from transformers.utils import logging as transformers_logging

from gpu_worker.engine.architectures import ARCHITECTURES
from gpu_worker.engine.architectures.architecture import Architecture
from gpu_worker.engine.device import Device
from gpu_worker.engine.lora import T5_OF_KOHYA, MergedLoras
from gpu_worker.engine.memory import is_out_of_memory
from gpu_worker.engine.tensors import check_is_safetensors
from jobs.catalog import Family, Model
from jobs.errors import FatalFailure
from jobs.weights import HALF_WEIGHTS, WEIGHTS


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentSpace:
    """How the denoiser's latents relate to the VAE's and to pixels.

    `factor` pixels of width or height make one latent. `shift` and `spread` broadcast to
    (1, channels, 1, 1); they are None where the VAE's config has none.
    """

    channels: int
    factor: int
    scaling: float
    shift: Tensor | None
    spread: Tensor | None

    def to_vae(self, latents: Tensor) -> Tensor:
        spread = latents if self.spread is None else latents * self.spread.to(latents)
        scaled = spread / self.scaling
        return scaled if self.shift is None else scaled + self.shift.to(latents)

    def from_vae(self, latents: Tensor) -> Tensor:
        centred = latents if self.shift is None else latents - self.shift.to(latents)
        scaled = centred * self.scaling
        return scaled if self.spread is None else scaled / self.spread.to(latents)


@dataclass(frozen=True, slots=True)
class LongReader:
    """T5, which reads a whole prompt at once."""

    tokenizer: Any
    encoder: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """One loaded model. Its networks are in evaluation mode and shared by all requests: only `loras` changes them.

    `tokenizers` and `text_encoders` are CLIP's; `t5` is None where the family has none, or this model goes without.
    `scheduler_config` keeps the prediction type and the noise schedule that the model was trained with.
    `zeros_for_no_negative` is SDXL's `force_zeros_for_empty_prompt`.
    """

    model: Model
    device: Device
    denoiser: Any
    vae: Any
    tokenizers: tuple[Any, ...]
    text_encoders: tuple[Any, ...]
    t5: LongReader | None
    scheduler_config: Mapping[str, Any]
    latent_space: LatentSpace
    zeros_for_no_negative: bool
    loras: MergedLoras

    @property
    def family(self) -> Family:
        return self.model.family

    @property
    def architecture(self) -> Architecture:
        return ARCHITECTURES[self.family]

    @property
    def grid_px(self) -> int:
        """Of which the width and height of a picture are multiples."""
        return self.latent_space.factor * self.architecture.patch

    @property
    def readers(self) -> tuple[Any, ...]:
        """All of its text encoders."""
        return self.text_encoders if self.t5 is None else (*self.text_encoders, self.t5.encoder)

    @property
    def networks(self) -> tuple[Any, ...]:
        return (self.denoiser, self.vae, *self.readers)

    @property
    def size_bytes(self) -> int:
        """What its parameters and buffers occupy, and the originals of those that LoRAs changed."""
        tensors = chain.from_iterable(chain(n.parameters(), n.buffers()) for n in self.networks)
        in_use: int = sum(tensor.nbytes for tensor in tensors)
        return in_use + self.loras.size_bytes


def load_checkpoint(model: Model, device: Device, place: torch.device | None = None) -> Checkpoint:
    """The model on the device, ready to be used; or with all its networks in another `place`.

    Raises FatalFailure, naming the model and the file, if it is missing, damaged or of another kind.
    """
    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if not model.path.exists():
        raise FatalFailure(f"model {model.id}: {model.path} does not exist")
    architecture = ARCHITECTURES[model.family]
    device = replace(device, dtype=architecture.dtype(device.dtype))
    try:
        pipeline = _open(model, device)
        architecture.check(model, pipeline)
        return _placed(model, pipeline, device, place or device.torch_device)
    except FatalFailure:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Of a damaged file nearly any class is raised: OSError, KeyError, SafetensorError, RuntimeError ...
        raise FatalFailure(f"model {model.id}: cannot load {model.path}: {error}") from error


def _open(model: Model, device: Device) -> Any:
    if model.path.is_dir():
        return _open_folder(model, device)
    return _open_file(model, device)


def _open_folder(model: Model, device: Device) -> Any:
    architecture = ARCHITECTURES[model.family]
    _check_index(model)
    denoiser = model.path / architecture.denoiser
    is_half_only = (denoiser / HALF_WEIGHTS).exists() and not (denoiser / WEIGHTS).exists()
    return architecture.pipeline.from_pretrained(
        model.path,
        variant="fp16" if is_half_only else None,
        torch_dtype=device.dtype,
        low_cpu_mem_usage=is_accelerate_available(),  # type: ignore[no-untyped-call]
        use_safetensors=True,
        local_files_only=True,
        **architecture.unused,
        **_without_t5(model.path, architecture.t5),
    )


def _without_t5(folder: Path, number: int | None) -> dict[str, None]:
    """Of a folder without it, which is what makes an SD 3 model small."""
    if number is None or (folder / _numbered("text_encoder", number)).exists():
        return {}
    return {_numbered("text_encoder", number): None, _numbered("tokenizer", number): None}


def _open_file(model: Model, device: Device) -> Any:
    check_is_safetensors(model)
    architecture = ARCHITECTURES[model.family]
    try:
        return architecture.pipeline.from_single_file(
            str(model.path),
            config=None if model.config_path is None else str(model.config_path),
            torch_dtype=device.dtype,
            local_files_only=True,
            **architecture.unused,
        )
    except Exception as error:
        if model.config_path is not None or is_out_of_memory(error):
            raise
        advice = "a single file needs config_path, a diffusers folder of the same architecture"
        raise FatalFailure(f"model {model.id}: cannot load {model.path}: {advice} ({error})") from error


def _check_index(model: Model) -> None:
    """Raises FatalFailure unless the folder says that it holds a model of the catalogue's family."""
    index = model.path / "model_index.json"
    if not index.exists():
        raise FatalFailure(f"model {model.id}: {index} does not exist")
    kind = json.loads(index.read_text()).get("_class_name", "")
    if not any(each.is_of(kind) for each in ARCHITECTURES.values()):
        raise FatalFailure(f"model {model.id}: {model.path} holds a {kind or 'nameless pipeline'}, which is not known")
    if not ARCHITECTURES[model.family].is_of(kind):
        raise FatalFailure(f"model {model.id}: {model.path} holds a {kind}, but the catalogue says {model.family}")


def _placed(model: Model, pipeline: Any, device: Device, place: torch.device) -> Checkpoint:
    architecture = ARCHITECTURES[model.family]
    there = replace(device, torch_device=place)
    encoders = {number: _encoder(pipeline, number, there) for number in architecture.clips}
    t5 = _long_reader(pipeline, architecture.t5, there)
    # In diffusers 0.42 SD 3's stays in the precision of its file, whatever is asked for.
    denoiser = ready(getattr(pipeline, architecture.denoiser).to(device.dtype), there)
    return Checkpoint(
        model=model,
        device=device,
        denoiser=denoiser,
        vae=ready_vae(pipeline.vae, there),
        tokenizers=tuple(getattr(pipeline, _numbered("tokenizer", number)) for number in architecture.clips),
        text_encoders=tuple(encoders.values()),
        t5=t5,
        scheduler_config=pipeline.scheduler.config,
        latent_space=latent_space_of(pipeline.vae.config),
        zeros_for_no_negative=bool(pipeline.config.get("force_zeros_for_empty_prompt", False)),
        loras=MergedLoras(
            denoiser,
            encoders if t5 is None else encoders | _numbers_of_t5(architecture, t5),
            partial(architecture.lora_place, denoiser),
        ),
    )


def _numbers_of_t5(architecture: Architecture, t5: LongReader) -> dict[int, Any]:
    """As LoRAs number it: kohya's are the same for all families."""
    return {number: t5.encoder for number in (architecture.t5, T5_OF_KOHYA) if number is not None}


def _long_reader(pipeline: Any, number: int | None, device: Device) -> LongReader | None:
    if number is None or getattr(pipeline, _numbered("text_encoder", number)) is None:
        return None
    return LongReader(getattr(pipeline, _numbered("tokenizer", number)), _encoder(pipeline, number, device))


def _encoder(pipeline: Any, number: int, device: Device) -> Any:
    return getattr(pipeline, _numbered("text_encoder", number)).to(device.torch_device).eval()


def _numbered(part: str, number: int) -> str:
    return part if number == 1 else f"{part}_{number}"


def ready(network: Any, device: Device) -> Any:
    return network.to(device.torch_device, memory_format=device.memory_format).requires_grad_(False).eval()


def ready_vae(vae: Any, device: Device) -> Any:
    # SDXL's VAE overflows in float16: black pictures.
    is_fragile = device.dtype is torch.float16 and vae.config.force_upcast
    return ready(vae.to(torch.float32) if is_fragile else vae, device)


def latent_space_of(config: Any) -> LatentSpace:
    """Reads what the VAE's config says. `latents_mean` and `latents_std` count only together, as in diffusers."""
    mean, std = config.get("latents_mean"), config.get("latents_std")
    has_statistics = mean is not None and std is not None
    shift = mean if has_statistics else config.get("shift_factor")
    return LatentSpace(
        channels=config.latent_channels,
        factor=2 ** (len(config.block_out_channels) - 1),
        scaling=config.scaling_factor,
        shift=None if shift is None else _per_channel(shift),
        spread=_per_channel(std) if has_statistics else None,
    )


def _per_channel(values: list[float] | float) -> Tensor:
    return torch.tensor(values).view(1, -1, 1, 1)
