"""The stock pipelines are the reference: same weights, seed and scheduler, the same picture.

Tolerance: 1 of 255 in any value. Ours keeps weights in channels_last, so sums are made in another order.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionImg2ImgPipeline
from PIL import Image

from gpu_worker.engine.samplers import RECIPES
from jobs.prompt import Piece
from jobs.samplers import ADAPTIVE, Sampler

WORDS = "a red cat, on a roof"
AVOIDED = "blue, ugly"
SEED = 11
STEPS = 4


def scheduler_of(sampler: str, config: Any) -> Any:
    recipe = RECIPES[Sampler(sampler)]
    options = dict(recipe.options)
    if recipe.scheduler.__name__ == "DPMSolverSDEScheduler":
        options["noise_sampler_seed"] = SEED
    return recipe.scheduler.from_config(config, **options)


def generator() -> torch.Generator:
    return torch.Generator("cpu").manual_seed(SEED)


def difference(ours: Any, theirs: Any) -> int:
    """The largest, in 8-bit units. A reference without structure would prove nothing."""
    expected = np.asarray(theirs, dtype=int)
    assert expected.std() > 10
    return int(np.abs(np.asarray(ours, dtype=int) - expected).max())


def reference(pipeline: Any, sampler: str, **wish: Any) -> Any:
    defaults = {"prompt": WORDS, "negative_prompt": AVOIDED, "num_inference_steps": STEPS, "generator": generator()}
    own = pipeline.scheduler
    pipeline.scheduler = scheduler_of(sampler, own.config)
    try:
        return pipeline(**(defaults | wish)).images[0]
    finally:
        # The next sampler shall be made from the model's own config, not from this one's.
        pipeline.scheduler = own


@pytest.mark.parametrize("sampler", [each for each in Sampler if each not in ADAPTIVE])
def test_every_sampler_draws_what_the_stock_pipeline_draws(engine: Any, stock: Any, draw: Any, sampler: str) -> None:
    checkpoint = engine.load("tiny")
    theirs = reference(stock["tiny"], sampler, width=256, height=128, guidance_scale=6.0)

    latents = draw(checkpoint, width=256, height=128, seeds=[SEED], sampler=sampler, steps=STEPS, guidance_scale=6.0)

    assert difference(engine.decode(checkpoint, latents)[0], theirs) <= 1


def test_a_models_guidance_rescale_is_that_of_the_stock_pipeline(engine: Any, stock: Any, draw: Any) -> None:
    loaded = engine.load("tiny")
    checkpoint = replace(loaded, model=replace(loaded.model, guidance_rescale=0.7))
    theirs = reference(stock["tiny"], "Euler", width=128, height=128, guidance_scale=9.0, guidance_rescale=0.7)

    latents = draw(checkpoint, width=128, height=128, seeds=[SEED], sampler="Euler", steps=STEPS, guidance_scale=9.0)

    assert difference(engine.decode(checkpoint, latents)[0], theirs) <= 1


@pytest.mark.parametrize("model", ["sd15", "sdxl"])
@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M Karras", "DPM++ SDE", "PLMS", "DPM2 a Karras"])
@pytest.mark.parametrize("guidance_scale", [1.0, 7.5])
def test_other_shapes_draw_what_the_stock_pipeline_draws(
    engine: Any, stock: Any, draw: Any, model: str, sampler: str, guidance_scale: float
) -> None:
    checkpoint = engine.load(model)
    theirs = reference(stock[model], sampler, width=128, height=192, guidance_scale=guidance_scale)

    latents = draw(
        checkpoint, width=128, height=192, seeds=[SEED], sampler=sampler, steps=STEPS, guidance_scale=guidance_scale
    )

    assert difference(engine.decode(checkpoint, latents)[0], theirs) <= 1


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ 2M Karras", "DPM++ SDE Karras", "DDIM", "Heun"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_starting_from_a_picture_draws_what_the_stock_pipeline_draws(
    engine: Any, stock: Any, draw: Any, sampler: str, strength: float
) -> None:
    checkpoint = engine.load("sd15")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    start = engine.encode_pictures(checkpoint, [picture], width=128, height=128)
    pipeline = StableDiffusionImg2ImgPipeline(**stock["sd15"].components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    # Given latents, the stock pipeline takes them as they are; given a picture, it would draw them by the seed.
    theirs = reference(pipeline, sampler, image=start.clone(), strength=strength, guidance_scale=6.0)

    latents = draw(
        checkpoint, seeds=[SEED], sampler=sampler, steps=STEPS, guidance_scale=6.0, start=start, strength=strength
    )

    assert difference(engine.decode(checkpoint, latents)[0], theirs) <= 1


@pytest.mark.parametrize("model", ["tiny", "sd15"])
def test_a_picture_becomes_the_mean_that_the_stock_pipeline_draws_around(engine: Any, stock: Any, model: str) -> None:
    checkpoint, pipeline = engine.load(model), stock[model]
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), dtype=np.uint8))
    pixels = pipeline.image_processor.preprocess(picture, height=128, width=64)
    with torch.inference_mode():
        theirs = pipeline.vae.encode(pixels).latent_dist.mean * pipeline.vae.config.scaling_factor

    ours = engine.encode_pictures(checkpoint, [picture], width=64, height=128)

    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", ["tiny", "sd15", "sdxl"])
@pytest.mark.parametrize("avoided", [AVOIDED, None])
def test_neutral_text_is_the_stock_encoding_to_the_bit(
    engine: Any, stock: Any, model: str, avoided: str | None
) -> None:
    checkpoint = engine.load(model)
    with torch.inference_mode():
        theirs = stock[model].encode_prompt(
            WORDS, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=True, negative_prompt=avoided
        )

    ours = engine.encode_prompt(
        checkpoint,
        prompt=(Piece("a red cat"), Piece("on a roof")),
        negative=() if avoided is None else (Piece(avoided),),
        clip_skip=1,
    )

    parts = (ours.positive, ours.negative, ours.pooled_positive, ours.pooled_negative)
    assert all(torch.equal(mine, stocks) for mine, stocks in zip(parts, theirs, strict=False))
