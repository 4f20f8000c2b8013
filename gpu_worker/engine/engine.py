"""The verbs of `jobs.engine` on diffusers' networks. It knows no stage, and no job."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from PIL import Image
from torch import Tensor

from gpu_worker.engine import denoise, inpainting, text
from gpu_worker.engine.cache import CheckpointCache
from gpu_worker.engine.checkpoint import Checkpoint, load_checkpoint
from gpu_worker.engine.denoise import Denoising
from gpu_worker.engine.device import Device
from gpu_worker.engine.latents import from_picture, next_size, resized_latents, small, to_pictures, to_previews
from gpu_worker.engine.memory import out_of_memory_is_transitory
from gpu_worker.engine.text import Conditioning
from jobs.catalog import Catalog, Model, UnknownModel
from jobs.engine import Cutout, Engine, Picture, Watch
from jobs.errors import FatalFailure
from jobs.inpainting import Cut, Masking
from jobs.prompt import Prompt
from jobs.weights import Weights, WrongWeights


class DiffusersEngine:
    """Stable Diffusion 1.5, 2 and XL on one device.

    Every method raises TransitoryFailure if memory does not suffice, after forgetting the cached checkpoints.
    On one machine the same arguments give the same bytes.
    """

    def __init__(self, catalog: Catalog, device: Device, *, max_cached_bytes: int) -> None:
        self._catalog = catalog
        self._device = device
        self._cache = CheckpointCache(max_cached_bytes)
        self._weights = Weights()

    def load(self, model_id: str) -> Checkpoint:
        try:
            model = self._catalog.get(model_id)
            with self._working(f"loading model {model.id}"):
                return self._cache.get(model.id, partial(self._load_checked, model))
        except (UnknownModel, WrongWeights) as error:
            raise FatalFailure(error.message) from error

    def encode_prompt(
        self, checkpoint: Checkpoint, *, prompt: Prompt, negative: Prompt, clip_skip: int
    ) -> Conditioning:
        with self._working("encoding the prompt"):
            return text.encode_prompt(checkpoint, prompt, negative, clip_skip)

    def encode_pictures(
        self, checkpoint: Checkpoint, pictures: Sequence[Picture], *, width: int, height: int
    ) -> Tensor:
        with self._working(f"encoding {len(pictures)} of {width} x {height}"):
            images = (cast(Image.Image, picture) for picture in pictures)
            return torch.cat([from_picture(checkpoint, image, width=width, height=height) for image in images])

    def sample(
        self,
        checkpoint: Checkpoint,
        conditioning: Conditioning,
        *,
        width: int,
        height: int,
        seeds: Sequence[int],
        sampler: str,
        steps: int,
        guidance_scale: float,
        watch: Watch,
        start: Tensor | None = None,
        strength: float = 1.0,
        masking: Masking | None = None,
    ) -> Tensor:
        with self._working(f"drawing {len(seeds)} of {width} x {height}"):
            denoising = denoise.begin(
                checkpoint,
                conditioning,
                width=width,
                height=height,
                seeds=seeds,
                sampler=sampler,
                steps=steps,
                guidance_scale=guidance_scale,
                start=start,
                strength=strength,
                masking=masking,
            )
            return self._run(checkpoint, denoising, watch)

    def decode(self, checkpoint: Checkpoint, latents: Tensor) -> list[Picture]:
        with self._working(f"decoding {tuple(latents.shape)} latents"):
            return list(to_pictures(checkpoint, latents))

    def next_size(self, checkpoint: Checkpoint, width: int, height: int) -> tuple[int, int]:
        return next_size(checkpoint, width, height)

    def resize_latents(
        self,
        checkpoint: Checkpoint,
        latents: Tensor,
        upscaler: str,
        *,
        width: int,
        height: int,
        keeps_ratio: bool = True,
    ) -> Tensor:
        with self._working(f"resizing {tuple(latents.shape)} latents"):
            size = {"width": width, "height": height}
            return resized_latents(checkpoint, latents, upscaler, **size, keeps_ratio=keeps_ratio)

    def cut_out(self, picture: Picture, mask: Picture, cut: Cut) -> Cutout:
        return cast(Cutout, inpainting.cut_out(cast(Image.Image, picture), cast(Image.Image, mask), cut))

    def small(self, picture: Picture) -> Picture:
        return small(cast(Image.Image, picture))

    def _load_checked(self, model: Model) -> Checkpoint:
        self._weights.check(model)
        return load_checkpoint(model, self._device)

    def _run(self, checkpoint: Checkpoint, denoising: Denoising, watch: Watch) -> Tensor:
        preview = partial(self._previews, checkpoint, denoising)
        while not denoising.is_done:
            before = denoising.steps_done
            denoise.step(checkpoint, [denoising])
            if denoising.steps_done > before:
                watch.step_done(denoising.steps_done, denoising.steps, preview)
        return denoising.latents

    def _previews(self, checkpoint: Checkpoint, denoising: Denoising) -> list[Picture]:
        with self._working("rendering previews"):
            return list(to_previews(checkpoint, denoising.clean()))

    @contextmanager
    def _working(self, doing: str) -> Iterator[None]:
        with out_of_memory_is_transitory(self._device, doing, self._cache.clear), torch.inference_mode():
            yield


if TYPE_CHECKING:

    def _is_an_engine(engine: DiffusersEngine) -> Engine:
        return engine
