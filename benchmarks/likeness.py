"""`make likeness`: each stage beside the stock diffusers pipeline, with the same weights, seed and scheduler."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import diffusers
import numpy as np
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional

from benchmarks import flow_likeness
from benchmarks.unwatched import Unwatched
from config.catalog import read_catalog
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.samplers import RECIPES
from jobs.attachments import ControlNet, Lora
from jobs.canny import edges
from jobs.preprocessors import Preprocessor, parameters_of
from jobs.prompt import Piece
from jobs.samplers import Sampler
from jobs.stages.canvas import Canvas, Tools
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler

ROOT = Path(__file__).parent.parent
MODELS = ROOT / "models"
SHAPES, CANNY, NIGHT, DUSK = (str(10**18 + i) for i in (1, 2, 3, 4))
SEED, SIDE, STEPS, GUIDANCE, STRENGTH = 11, 512, 20, 7.0, 0.6
WORDS = "a red circle on a blue background"
# With 32 pixels around it a square of 256, drawn twice as large: its edges lie between latents of 16 pixels both times.
MASK_BOX = (160, 160, 352, 352)

GOAL = 1.0
LOADING = {"torch_dtype": torch.float32, "local_files_only": True}

untyped: Any = diffusers


@dataclass(frozen=True, slots=True)
class Pair:
    """One stage, drawn twice; where the two must differ, the reason."""

    stage: str
    ours: Any
    theirs: Any
    reason: str = ""

    @property
    def apart(self) -> Any:
        return np.abs(np.asarray(self.ours, float) - np.asarray(self.theirs, float))

    @property
    def is_missed(self) -> bool:
        return not self.reason and bool(self.apart.mean() > GOAL)

    def line(self) -> str:
        return f"| {self.stage} | {self.apart.mean():.3f} | {self.apart.max():.0f} | {self.reason} |"


class Bench:
    """Our engine and the stock pipelines, on the bundled model."""

    def __init__(self) -> None:
        self.engine = DiffusersEngine(read_catalog(ROOT / "config/catalog.toml", MODELS), CPU, max_cached_bytes=2**31)
        self.text: Any = untyped.StableDiffusionPipeline.from_pretrained(MODELS / "darkroom-shapes", **LOADING)
        self.config = self.text.scheduler.config

    def ours(self, *stages: Any, pictures: Any = None, **inputs: Any) -> Any:
        canvas = Canvas(seeds=(SEED,), pictures=(pictures,) if pictures else ())
        tools = Tools(engine=self.engine, watch=Unwatched(), pictures=inputs)
        for stage in stages:
            canvas = stage.run(canvas, tools)
        return canvas.pictures[0]

    def theirs(self, wish: Diffusion, kind: str = "", *, words: str = WORDS, parts: Any = None, **options: Any) -> Any:
        """What the stock pipeline of this kind draws. It gets a scheduler of the sampler's, and no other help."""
        components = {**self.text.components, **(parts or {})}
        pipeline = getattr(untyped, f"StableDiffusion{kind}Pipeline")(**components, requires_safety_checker=False)
        recipe = RECIPES[Sampler(wish.sampler)]
        more = {"noise_sampler_seed": SEED} if recipe.scheduler.__name__ == "DPMSolverSDEScheduler" else {}
        pipeline.scheduler = recipe.scheduler.from_config(self.config, **recipe.options, **more)
        pipeline.set_progress_bar_config(disable=True)
        asked = {"num_inference_steps": wish.steps, "guidance_scale": GUIDANCE, "output_type": "pil"} | options
        return pipeline(words, generator=torch.Generator().manual_seed(SEED), **asked).images[0]


def wish(sampler: str = Sampler.DPMPP_2M_KARRAS, words: str = WORDS, **more: Any) -> Diffusion:
    return Diffusion(
        width=SIDE, height=SIDE, prompt=(Piece(words),), model=SHAPES, sampler=sampler, steps=STEPS, **more
    )


SIZE: Any = {"width": SIDE, "height": SIDE}


def stages(bench: Bench) -> Iterator[Pair]:
    picture = bench.ours(wish(words="a green house on a yellow background"))
    yield Pair("txt2img", bench.ours(wish()), bench.theirs(wish(), **SIZE))
    yield from img2img(bench, picture)
    yield from inpaint(bench, picture)
    yield controlnet(bench, picture)
    yield lora(bench)
    yield learned_word(bench)
    yield hires(bench)


def img2img(bench: Bench, picture: Any) -> Iterator[Pair]:
    again = wish(denoising_strength=STRENGTH)
    ours = bench.ours(again, pictures=picture)
    sampled = bench.theirs(again, "Img2Img", image=picture, strength=STRENGTH)
    with taking_the_mean():
        mean = bench.theirs(again, "Img2Img", image=picture, strength=STRENGTH)
    yield Pair("img2img, both from the mean of what the VAE says", ours, mean)
    reason = "the stock pipeline draws a sample around that mean, which also takes the generator's first numbers"
    yield Pair("img2img, the stock pipeline from the picture", ours, sampled, reason)


def inpaint(bench: Bench, picture: Any) -> Iterator[Pair]:
    mask = Image.new("L", (SIDE, SIDE))
    mask.paste(255, MASK_BOX)
    again = wish(denoising_strength=STRENGTH)
    whole = ImageToInpaint(diffusion=again, mask="mask", mask_blur_px=0, full_resolution=False)
    given = {"image": picture, "mask_image": mask, "strength": STRENGTH, **SIZE}
    with taking_the_mean(), as_if_of_four_channels(bench.text.unet):
        drawn = bench.theirs(again, "Inpaint", **given)
        theirs = bench.theirs(again, "Inpaint", **given, padding_mask_crop=32)
    # diffusers leaves it to its callers to put back what the mask does not cover; the web UI does it.
    yield Pair(
        "inpaint, whole picture", bench.ours(whole, pictures=picture, mask=mask), Image.composite(drawn, picture, mask)
    )
    part = replace(whole, full_resolution=True)
    yield Pair("inpaint, masked part alone", bench.ours(part, pictures=picture, mask=mask), theirs)


def controlnet(bench: Bench, picture: Any) -> Pair:
    lines = edges(np.asarray(picture), 100, 200)
    hint = Image.fromarray(np.where(lines[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2))
    network = untyped.ControlNetModel.from_pretrained(MODELS / "darkroom-shapes-canny", **LOADING)
    parameters = parameters_of(Preprocessor.CANNY, {})
    guided = wish(
        controls=(
            ControlNet(model=CANNY, preprocessor=Preprocessor.CANNY, image="picture", preprocessor_params=parameters),
        )
    )
    theirs = bench.theirs(guided, "ControlNet", parts={"controlnet": network}, image=hint, **SIZE)
    return Pair("ControlNet, canny", bench.ours(guided, picture=picture), theirs)


def lora(bench: Bench) -> Pair:
    words = "a red circle, night"
    ours = bench.ours(wish(words=words, loras=(Lora(model=NIGHT, weight=0.8),)))
    merged = Bench()
    _merge(merged.text, load_file(MODELS / "darkroom-shapes-night/night.safetensors"), 0.8)
    reason = "diffusers reads a LoRA only with peft, which is not installed: here it is merged into its weights by hand"
    return Pair("LoRA, weight 0.8", ours, merged.theirs(wish(), words=words, **SIZE), reason)


def learned_word(bench: Bench) -> Pair:
    words = "a circle in darkroom-dusk"
    ours = bench.ours(wish(words=words, embeddings=(DUSK,)))
    taught = Bench()
    file = MODELS / "darkroom-shapes-dusk/darkroom-dusk.safetensors"
    taught.text.load_textual_inversion(file, token="darkroom-dusk")
    return Pair("learned word", ours, taught.theirs(wish(), words=words, **SIZE))


def hires(bench: Bench) -> Pair:
    """A second pass of 10 steps at 0.5: the last half of 20."""
    upscaler = ImageToUpscaler(diffusion=wish(), upscaler="Latent", scale=1.5, steps=10, denoising_strength=0.5)
    first = bench.theirs(wish(), **SIZE, output_type="latent")
    larger = functional.interpolate(first[None], scale_factor=1.5, mode="bilinear")
    with saying(bench.text.vae, larger):
        theirs = bench.theirs(wish(), "Img2Img", image=Image.new("RGB", (SIDE * 3 // 2,) * 2), strength=0.5)
    reason = "diffusers has no such stage: here its img2img is given the interpolated latents of its txt2img"
    return Pair("hires fix, Latent 1.5×", bench.ours(wish(), upscaler), theirs, reason)


def samplers(bench: Bench) -> Iterator[Pair]:
    """Those that diffusers has."""
    for sampler in (each for each, recipe in RECIPES.items() if recipe.scheduler.__module__.startswith("diffusers.")):
        yield Pair(sampler, bench.ours(wish(sampler)), bench.theirs(wish(sampler), **SIZE))


def families() -> Iterator[Pair]:
    """SD 3 and FLUX."""
    with TemporaryDirectory() as folder, taking_the_mean():
        for row in flow_likeness.rows(Path(folder)):
            yield Pair(*row)


@contextmanager
def taking_the_mean() -> Iterator[None]:
    """Within it the stock pipelines take the mean of what the VAE says of a picture, as ours does for all its seeds,
    and draw no sample around it."""
    with patch.object(DiagonalGaussianDistribution, "sample", lambda said, generator=None: said.mode()):
        yield


@contextmanager
def as_if_of_four_channels(unet: Any) -> Iterator[None]:
    """The stock inpainting pipeline asks for the 4 or 9 of Stable Diffusion's; ours has 8, and it would do as well."""
    channels = unet.config.in_channels
    unet.register_to_config(in_channels=4)
    try:
        yield
    finally:
        unet.register_to_config(in_channels=channels)


@contextmanager
def saying(vae: Any, latents: Any) -> Iterator[None]:
    """Within it this VAE has these latents for every picture: the stock pipelines take latents in place of a picture
    only where they have four channels."""
    told = SimpleNamespace(sample=lambda generator: latents / vae.config.scaling_factor)
    with patch.object(vae, "encode", lambda pixels: SimpleNamespace(latent_dist=told)):
        yield


def _merge(pipeline: Any, tensors: dict[str, torch.Tensor], weight: float) -> None:
    """Source: kohya-ss/sd-scripts, networks/lora.py: weight · alpha / rank · up · down is added."""
    layers = {f"lora_unet_{name}".replace(".", "_"): layer for name, layer in pipeline.unet.named_modules()}
    for name, layer in pipeline.text_encoder.named_modules():
        layers[f"lora_te_text_model_{name}".replace(".", "_")] = layer
        layers[f"lora_te_{name}".replace(".", "_")] = layer
    for name in [each.removesuffix(".alpha") for each in tensors if each.endswith(".alpha")]:
        down, up = (tensors[f"{name}.lora_{side}.weight"].float() for side in ("down", "up"))
        product = up.flatten(1) @ down.flatten(1)
        target = layers[name].weight
        target.data += weight * float(tensors[f"{name}.alpha"]) / len(down) * product.reshape(target.shape)


def main() -> None:
    """Prints the tables. Exits with 1 where the goal is missed without a reason."""
    bench, missed = Bench(), []
    for title, pairs in (("stage", stages(bench)), ("sampler", samplers(bench)), ("family", families())):
        print(f"| {title} | mean | max | where it differs |\n|---|---|---|---|")
        for pair in pairs:
            print(pair.line(), flush=True)
            missed += [pair.stage] if pair.is_missed else []
    if missed:
        sys.exit(f"over {GOAL} on average, without a reason: {', '.join(missed)}")


if __name__ == "__main__":
    main()
