"""What our engine and the stock pipelines draw with SD 3 and FLUX of one request: 128 × 192 pixels, 4 steps."""

import inspect
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.unwatched import Unwatched
from jobs.attachments import ControlNet
from jobs.catalog import Family
from jobs.preprocessors import Preprocessor
from jobs.prompt import Piece

untyped: Any = diffusers

SEED, STEPS, WIDTH, HEIGHT = 11, 4, 128, 192
SIZE: dict[str, int] = {"width": WIDTH, "height": HEIGHT}
PROMPT, AVOIDED = (Piece("a red cat"), Piece("on a roof")), (Piece("blue, ugly"),)
WORDS, UGLY = "a red cat, on a roof", "blue, ugly"
RANK = 2
# Of each model, layers that a LoRA changes.
LAYERS = {
    "sd3": ("transformer_blocks.0.attn.to_q", "transformer_blocks.1.norm1_context.linear", "proj_out"),
    "flux-dev": ("transformer_blocks.0.attn.add_k_proj", "single_transformer_blocks.0.proj_mlp", "x_embedder"),
}


def stock_pipeline(folder: Path, **parts: Any) -> Any:
    kind = untyped.FluxPipeline if folder.name.startswith("flux") else untyped.StableDiffusion3Pipeline
    pipeline = kind.from_pretrained(folder, **parts)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def reference(pipeline: Any, scheduler: Any = None, **wish: Any) -> Any:
    """What the stock pipeline draws, with this scheduler or its own."""
    of_flux = isinstance(pipeline.transformer, untyped.FluxTransformer2DModel)
    generator = torch.Generator("cpu").manual_seed(SEED)
    own, pipeline.scheduler = pipeline.scheduler, scheduler or pipeline.scheduler
    if scheduler is not None and "generator" in inspect.signature(scheduler.step).parameters:
        # The pipelines forget to.
        step = partial(_of_whole_latents, scheduler.step) if of_flux else scheduler.step
        scheduler.step = partial(step, generator=generator)
    told = {"prompt": WORDS, **SIZE, "num_inference_steps": STEPS, "generator": generator}
    told |= {"guidance_scale": 2.5} if of_flux else {"guidance_scale": 5.0, "negative_prompt": UGLY}
    try:
        return pipeline(**(told | wish)).images[0]
    finally:
        pipeline.scheduler = own


def _of_whole_latents(step: Any, output: Any, timestep: Any, latents: Any, *, generator: Any, return_dict: bool) -> Any:
    """Else it would draw the noise of each token, not that of the latents."""
    packing = untyped.FluxPipeline
    whole = [packing._unpack_latents(each, **SIZE, vae_scale_factor=8) for each in (output, latents)]
    after = step(whole[0], timestep, whole[1], generator=generator, return_dict=return_dict)[0]
    return (packing._pack_latents(after, *after.shape),)


def sampled(
    engine: Any, checkpoint: Any, *, prompt: Any = PROMPT, negative: Any = None, clip_skip: int = 1, **wish: Any
) -> Tensor:
    """Our latents. FLUX avoids nothing unless it is told to."""
    of_flux = checkpoint.family is Family.FLUX
    if negative is None:
        negative = () if of_flux else AVOIDED
    conditioning = engine.encode_prompt(checkpoint, prompt=prompt, negative=negative, clip_skip=clip_skip)
    told = {**SIZE, "seeds": [SEED], "sampler": "Euler", "steps": STEPS, "watch": Unwatched()}
    told["guidance_scale"] = 2.5 if of_flux else 5.0
    latents: Tensor = engine.sample(checkpoint, conditioning, **(told | wish))
    return latents


def drawn(engine: Any, checkpoint: Any, **wish: Any) -> Any:
    return engine.decode(checkpoint, sampled(engine, checkpoint, **wish))[0]


def picture(seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))


def control(
    engine: Any, model: str, name: str, seed: int = 0, mask: Any = None, size: Any = (WIDTH, HEIGHT), **fields: Any
) -> Any:
    """The ControlNet of this name, looking at the picture of this seed."""
    told: dict[str, Any] = {"preprocessor": Preprocessor.NONE, "weight": 0.8} | fields
    asked = ControlNet(model=name, **told)
    width, height = size
    return engine.control(engine.load(model), asked, picture=picture(seed), mask=mask, width=width, height=height)


def guided_reference(pipeline: Any, network: Any, **wish: Any) -> Any:
    """What the stock pipeline draws with this ControlNet, which looks at the same picture."""
    of_flux = isinstance(pipeline.transformer, untyped.FluxTransformer2DModel)
    kind = untyped.FluxControlNetPipeline if of_flux else untyped.StableDiffusion3ControlNetPipeline
    guided = kind(**pipeline.components, controlnet=network)
    guided.set_progress_bar_config(disable=True)
    return reference(guided, **{"control_image": picture(), "controlnet_conditioning_scale": 0.8} | wish)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 4


def factors(rows: int, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Down and up."""
    return random(RANK, columns, seed=seed), random(rows, RANK, seed=seed + 500)


def of_layers(network: Any, layers: tuple[str, ...]) -> dict[str, tuple[Tensor, Tensor]]:
    """Factors for each of these layers."""
    shapes = [network.get_submodule(layer).weight.flatten(1).shape for layer in layers]
    return {
        layer: factors(rows, columns, seed=i)
        for i, (layer, (rows, columns)) in enumerate(zip(layers, shapes, strict=True))
    }


def in_diffusers(parts: dict[str, tuple[Tensor, Tensor]], prefix: str = "transformer.") -> dict[str, Tensor]:
    down_up = zip(("lora_A", "lora_B"), zip(*parts.values(), strict=True), strict=True)
    return {
        f"{prefix}{layer}.{factor}.weight": tensor
        for factor, tensors in down_up
        for layer, tensor in zip(parts, tensors, strict=True)
    }
