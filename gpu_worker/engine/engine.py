"""The verbs of `jobs.engine` on diffusers' networks. It knows no stage, and no job."""

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast

import structlog
import torch
from PIL import Image
from torch import Tensor

from gpu_worker.engine import denoise, inpainting, text
from gpu_worker.engine.attention import sliced_attention
from gpu_worker.engine.cache import ModelCache
from gpu_worker.engine.checkpoint import Checkpoint, load_checkpoint
from gpu_worker.engine.control import Adapter, Control
from gpu_worker.engine.controlnet import ControlNetwork, check_fits, load_controlnet, new_control
from gpu_worker.engine.denoise import Denoising
from gpu_worker.engine.detectors import bundled_masks, shaped, yolo_masks
from gpu_worker.engine.device import Device
from gpu_worker.engine.embedding import LearnedWord, read_learned_word
from gpu_worker.engine.latents import from_picture, next_size, resized_latents, small, to_pictures, to_previews
from gpu_worker.engine.looking import Looker, load_looker, looked
from gpu_worker.engine.lora import WeighedLora
from gpu_worker.engine.lora_file import Change, read_changes
from gpu_worker.engine.memory import CODING, DENOISING, DENOISING_WHOLE, ENLARGING, LOADING, LOOKING, Ladder, Thrift
from gpu_worker.engine.residence import HOST, Residence
from gpu_worker.engine.text import Conditioning
from gpu_worker.engine.upscaler import RESAMPLINGS, SMALL_TILE_PX, TILE_PX, Upscaler, load_upscaler, upscale_to
from gpu_worker.engine.vae import LoadedVae, load_vae, with_vae
from jobs.attachments import ControlNet, Lora
from jobs.block_weights import read_block_weights
from jobs.catalog import Catalog, Model, UnknownModel
from jobs.detectors import BUNDLED, Look
from jobs.engine import Cutout, Engine, Picture, Watch, go_on
from jobs.errors import FatalFailure
from jobs.inpainting import Cut, Masking
from jobs.preprocessing import preprocessed
from jobs.preprocessors import Preprocessor
from jobs.prompt import Prompt
from jobs.samplers import ADAPTIVE
from jobs.weights import Weights, WrongWeights

log = structlog.get_logger()


class DiffusersEngine:
    """Checkpoints of every family that `architectures` has, on one device.

    Where memory does not suffice a method tries again in slower ways (see `memory`), and raises FatalFailure where
    none helps.
    On one machine the same arguments give the same bytes.
    """

    def __init__(self, catalog: Catalog, device: Device, *, max_cached_bytes: int) -> None:
        self._catalog = catalog
        self._device = device
        self._cache = ModelCache(max_cached_bytes)
        self._weights = Weights()
        self._residence = Residence(device.torch_device)
        # In how many seconds each LoRA that was ever used was merged, and those that now are.
        self._merging_s: dict[str, float] = {}
        self._merged_loras: list[str] = []

    def loading_s(self) -> Mapping[str, float]:
        merged = dict.fromkeys(self._merged_loras, 0.0)
        return {**self._cache.loading_s(), **self._merging_s, **merged}

    def load(self, model_id: str, loras: Sequence[Lora] = (), vae: str | None = None) -> Checkpoint:
        def work(thrift: Thrift) -> Checkpoint:
            checkpoint = self._cache.get(model.id, partial(self._load_checked, model, thrift))
            self._bring(checkpoint, (), thrift)
            if self._residence.is_apart(checkpoint.denoiser):
                log.info("model_parted", model=model.id)
            self._merge(checkpoint, loras, thrift)
            return self._with_vae(checkpoint, self._model(vae)) if vae else checkpoint

        model = self._model(model_id)
        return self._ladder(f"loading model {model.id}", LOADING, {model.id, vae}).run(work)

    def _merge(self, checkpoint: Checkpoint, loras: Sequence[Lora], thrift: Thrift) -> None:
        began, names = perf_counter(), [lora.model for lora in loras]
        weighed = [self._weighed(lora, checkpoint) for lora in loras]
        checkpoint.loras.set(weighed, partial(self._changes, checkpoint), is_short=thrift > Thrift.NONE)
        if missing := [name for name in names if name not in self._merged_loras]:
            self._merging_s = self._merging_s | dict.fromkeys(missing, (perf_counter() - began) / len(missing))
        self._merged_loras = names

    def encode_prompt(
        self,
        checkpoint: Checkpoint,
        *,
        prompt: Prompt,
        negative: Prompt,
        clip_skip: int,
        embeddings: Sequence[str] = (),
    ) -> Conditioning:
        def work(thrift: Thrift) -> Conditioning:
            self._bring(checkpoint, checkpoint.readers, thrift)
            words = [self._learned_word(checkpoint, self._model(each)) for each in embeddings]
            return text.encode_prompt(checkpoint, prompt, negative, clip_skip, words)

        return self._ladder("encoding the prompt", LOADING, {checkpoint.model.id}).run(work)

    def encode_pictures(
        self, checkpoint: Checkpoint, pictures: Sequence[Picture], *, width: int, height: int
    ) -> Tensor:
        def work(thrift: Thrift) -> Tensor:
            self._bring(checkpoint, [checkpoint.vae], thrift)
            images = (cast(Image.Image, picture) for picture in pictures)
            size: Any = {"width": width, "height": height, "is_short": thrift >= Thrift.TILES}
            return torch.cat([from_picture(checkpoint, image, **size) for image in images])

        return self._ladder(f"encoding {len(pictures)} of {width} x {height}", CODING, {checkpoint.model.id}).run(work)

    def control(
        self,
        checkpoint: Checkpoint,
        controlnet: ControlNet,
        *,
        picture: Picture,
        mask: Picture | None,
        width: int,
        height: int,
    ) -> Control | Adapter:
        def work(thrift: Thrift) -> Control | Adapter:
            self._bring(checkpoint, (), thrift)
            network = self._cache.get(model.id, partial(self._load_controlnet, model, checkpoint.device))
            check_fits(network, checkpoint)
            self._bring(checkpoint, [checkpoint.vae, network.network], thrift)
            return new_control(
                network,
                checkpoint,
                controlnet,
                picture=cast(Image.Image, picture),
                mask=cast("Image.Image | None", mask),
                width=width,
                height=height,
                preprocess=self._preprocessing(controlnet),
                is_short=thrift >= Thrift.TILES,
            )

        model = self._model(controlnet.model)
        needed = {model.id, checkpoint.model.id, controlnet.preprocessor_model}
        # Those of SD 3 and FLUX see the picture through the VAE.
        return self._ladder(f"loading ControlNet {model.id}", CODING, needed).run(work)

    def preprocess(
        self, picture: Picture, preprocessor: Preprocessor, parameters: Mapping[str, float], network: str
    ) -> Picture:
        def work(_thrift: Thrift) -> Picture:
            self._residence.clear()
            looker = self._looker(network, preprocessor)
            return cast(Picture, looked(looker, image, preprocessor, parameters, pixel_perfect=False))

        image = cast(Image.Image, picture)
        return self._ladder(f"looking at {image.width} x {image.height}", LOOKING, {network}).run(work)

    def _preprocessing(self, controlnet: ControlNet) -> Callable[[Image.Image], Image.Image]:
        told: Any = {
            "preprocessor": controlnet.preprocessor,
            "parameters": controlnet.preprocessor_params,
            "pixel_perfect": controlnet.pixel_perfect,
        }
        if controlnet.preprocessor_model is None:
            return lambda picture: preprocessed(picture, **told)
        looker = self._looker(controlnet.preprocessor_model, controlnet.preprocessor)
        return lambda picture: looked(looker, picture, **told)

    def _looker(self, model_id: str, preprocessor: Preprocessor) -> Looker:
        model = self._model(model_id)
        self._check(model)
        return self._cache.get(model.id, partial(load_looker, model, preprocessor, self._device))

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
        controls: Sequence[Control | Adapter] = (),
        noise_seed_delta: int = 0,
        schedule: str | None = None,
    ) -> Tensor:
        def begun(seeds: Sequence[int], start: Tensor | None) -> Denoising:
            return denoise.begin(
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
                controls=controls,
                noise_seed_delta=noise_seed_delta,
                schedule=schedule,
            )

        with torch.inference_mode():
            rungs = DENOISING if checkpoint.architecture.is_sliceable else DENOISING_WHOLE
            ladder = self._ladder(f"drawing {len(seeds)} of {width} x {height}", rungs, {checkpoint.model.id})
            if sampler not in ADAPTIVE:
                return self._run(checkpoint, [begun(seeds, start)], watch, ladder)
            starts = [start] * len(seeds) if start is None or len(start) == 1 else list(torch.split(start, 1))
            alone = [begun([seed], each) for seed, each in zip(seeds, starts, strict=True)]
            return self._run(checkpoint, alone, watch, ladder)

    def decode(self, checkpoint: Checkpoint, latents: Tensor) -> list[Picture]:
        def work(thrift: Thrift) -> list[Picture]:
            self._bring(checkpoint, [checkpoint.vae], thrift)
            return list(to_pictures(checkpoint, latents, is_short=thrift >= Thrift.TILES))

        height, width = (checkpoint.latent_space.factor * side for side in latents.shape[-2:])
        return self._ladder(f"decoding {len(latents)} of {width} x {height}", CODING, {checkpoint.model.id}).run(work)

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
        def work(thrift: Thrift) -> Tensor:
            self._bring(checkpoint, (), thrift)
            size = {"width": width, "height": height}
            return resized_latents(checkpoint, latents, upscaler, **size, keeps_ratio=keeps_ratio)

        doing = f"resizing latents to those of {width} x {height}"
        return self._ladder(doing, LOADING, {checkpoint.model.id}).run(work)

    def find(self, picture: Picture, look: Look) -> list[Picture]:
        image = cast(Image.Image, picture)
        if look.detector == BUNDLED:
            masks = bundled_masks(image, look.confidence)
        else:
            model = self._model(look.detector)
            self._check(model)
            masks = yolo_masks(model, image, look.confidence)
        return list(shaped(masks, look))

    def cut_out(self, picture: Picture, mask: Picture, cut: Cut) -> Cutout:
        return cast(Cutout, inpainting.cut_out(cast(Image.Image, picture), cast(Image.Image, mask), cut))

    def enlarge(
        self,
        picture: Picture,
        upscaler: str,
        *,
        width: int,
        height: int,
        keeps_ratio: bool = True,
        check: Callable[[], None] = go_on,
    ) -> Picture:
        image = cast(Image.Image, picture)
        if keeps_ratio:
            image = inpainting.in_ratio(image, width, height)
        way = RESAMPLINGS.get(upscaler)
        if way is None and (image.width < width or image.height < height):
            image = self._upscaled(image, upscaler, width, height, check)
        return cast(Picture, image.resize((width, height), way or Image.Resampling.LANCZOS))

    def _upscaled(
        self, image: Image.Image, upscaler: str, width: int, height: int, check: Callable[[], None]
    ) -> Image.Image:
        def work(thrift: Thrift) -> Image.Image:
            self._residence.clear()
            tile = SMALL_TILE_PX if thrift >= Thrift.TILES else TILE_PX
            return upscale_to(self._upscaler(upscaler), image, width, height, tile=tile, check=check)

        doing = f"enlarging {image.width} x {image.height} to {width} x {height}"
        return self._ladder(doing, ENLARGING, {upscaler}).run(work)

    def _upscaler(self, model_id: str) -> Upscaler:
        model = self._model(model_id)
        self._check(model)
        return self._cache.get(model.id, partial(load_upscaler, model, self._device))

    def small(self, picture: Picture) -> Picture:
        return small(cast(Image.Image, picture))

    def _model(self, model_id: str) -> Model:
        try:
            return self._catalog.get(model_id)
        except UnknownModel as error:
            raise FatalFailure(error.message) from error

    def _check(self, model: Model) -> None:
        try:
            self._weights.check(model)
        except WrongWeights as error:
            raise FatalFailure(error.message) from error

    def _load_checked(self, model: Model, thrift: Thrift) -> Checkpoint:
        self._check(model)
        self._residence.clear()
        return load_checkpoint(model, self._device, HOST if thrift >= Thrift.APART else None)

    def _with_vae(self, checkpoint: Checkpoint, model: Model) -> Checkpoint:
        return with_vae(checkpoint, self._cache.get(model.id, partial(self._load_vae, model)))

    def _load_vae(self, model: Model) -> LoadedVae:
        self._check(model)
        return load_vae(model, self._device)

    def _load_controlnet(self, model: Model, device: Device) -> ControlNetwork:
        self._check(model)
        return load_controlnet(model, device)

    def _weighed(self, lora: Lora, checkpoint: Checkpoint) -> WeighedLora:
        blocks = read_block_weights(lora.block_weight) if lora.block_weight else None
        if blocks is not None and (reason := blocks.fault_with(checkpoint.family)):
            raise FatalFailure(f"LoRA {lora.model}: its block weight {reason}")
        weight = lora.weight if blocks is None or blocks.weight is None else blocks.weight
        return WeighedLora(self._model(lora.model), weight, blocks)

    def _changes(self, checkpoint: Checkpoint, model: Model) -> Mapping[str, Change]:
        self._check(model)
        return read_changes(model, partial(checkpoint.architecture.lora_in_diffusers, checkpoint.denoiser))

    def _learned_word(self, checkpoint: Checkpoint, model: Model) -> LearnedWord:
        self._check(model)
        return read_learned_word(model, checkpoint)

    def _run(self, checkpoint: Checkpoint, requests: Sequence[Denoising], watch: Watch, ladder: Ladder) -> Tensor:
        """All of them in turns: what they share is the watch."""
        steps, preview = requests[0].steps, partial(self._previews, checkpoint, requests)
        while waiting := [denoising for denoising in requests if not denoising.is_done]:
            before = _steps_done(requests)
            for denoising in waiting:
                denoising.take(ladder.run(partial(self._predicted, checkpoint, denoising)))
            if _steps_done(requests) > before:
                watch.step_done(_steps_done(requests), steps, preview)
        return torch.cat([denoising.latents for denoising in requests])

    def _predicted(self, checkpoint: Checkpoint, denoising: Denoising, thrift: Thrift) -> Tensor:
        nets = [each.network for each in denoising.controls if isinstance(each, Control)]
        networks = [checkpoint.denoiser, *nets]
        self._bring(checkpoint, networks, thrift)
        with ExitStack() as stack:
            if thrift >= Thrift.SLICES and checkpoint.architecture.is_sliceable:
                stack.enter_context(sliced_attention(networks))
            return denoise.predicted(checkpoint, denoising, one_by_one=thrift >= Thrift.ONE_BY_ONE)

    def _previews(self, checkpoint: Checkpoint, requests: Sequence[Denoising]) -> list[Picture]:
        def work(thrift: Thrift) -> list[Picture]:
            # The denoiser is needed again at once.
            self._bring(checkpoint, [checkpoint.vae], thrift, is_beside=thrift < Thrift.APART)
            return list(to_previews(checkpoint, torch.cat([denoising.clean() for denoising in requests])))

        return self._ladder("rendering previews", LOADING, {checkpoint.model.id}).run(work)

    def _bring(
        self, checkpoint: Checkpoint, networks: Sequence[Any], thrift: Thrift, *, is_beside: bool = False
    ) -> None:
        """Networks that are to run come to the device; of a model that does not fit there, they alone."""
        if thrift >= Thrift.APART and not self._residence.is_apart(checkpoint.denoiser):
            self._residence.part(checkpoint.networks)
            checkpoint.loras.set_aside()
        is_apart = self._residence.is_apart(checkpoint.denoiser)
        self._residence.bring(networks, alone=is_apart and not is_beside)

    def _ladder(self, doing: str, rungs: Sequence[Thrift], needed: Collection[str | None]) -> Ladder:
        """`needed` are the ids of the models that stay in the cache where memory is short."""
        possible = [rung for rung in rungs if rung is not Thrift.APART or self._residence.can_part]
        return Ladder(self._device, doing, possible, partial(self._cache.keep_only, needed))


def _steps_done(requests: Sequence[Denoising]) -> int:
    return min(denoising.steps_done for denoising in requests)


if TYPE_CHECKING:

    def _is_an_engine(engine: DiffusersEngine) -> Engine:
        return engine
