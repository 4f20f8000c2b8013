"""Denoising of a part only: the stock inpainting pipeline is the reference."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionInpaintPipeline
from PIL import Image

from gpu_worker.engine import denoise
from gpu_worker.engine.masking import latent_mask
from jobs.inpainting import Masking
from tests.gpu_worker.engine.test_against_diffusers import SEED, STEPS, difference, reference
from tests.gpu_worker.engine.test_denoise import run

SIDE = 128


def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def mask() -> Image.Image:
    """White in the middle, on the grid of latents: the stock pipeline takes the nearest pixel, ours the mean."""
    made = Image.new("L", (SIDE, SIDE))
    made.paste(255, (32, 48, 96, 96))
    return made


@pytest.mark.parametrize("sampler", ["Euler a", "Euler", "DPM++ 2M Karras", "DPM++ SDE Karras", "DDIM", "Heun", "PLMS"])
@pytest.mark.parametrize("strength", [0.5, 0.8])
def test_a_masked_part_is_drawn_as_the_stock_pipeline_draws_it(
    engine: Any, stock: Any, draw: Any, sampler: str, strength: float
) -> None:
    checkpoint = engine.load("sd15")
    start = engine.encode_pictures(checkpoint, [picture()], width=SIDE, height=SIDE)
    pipeline = StableDiffusionInpaintPipeline(**stock["sd15"].components, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    # Given latents, the stock pipeline takes them as they are; given a picture, it would draw them by the seed.
    wish = {"image": start.clone(), "masked_image_latents": start, "mask_image": mask(), "strength": strength}
    theirs = reference(pipeline, sampler, guidance_scale=6.0, width=SIDE, height=SIDE, **wish)

    latents = draw(
        checkpoint,
        seeds=[SEED],
        sampler=sampler,
        steps=STEPS,
        guidance_scale=6.0,
        start=start,
        strength=strength,
        masking=Masking(mask=mask()),
    )

    assert difference(engine.decode(checkpoint, latents)[0], theirs) <= 1


def test_latents_outside_the_mask_are_those_of_the_start(engine: Any, draw: Any) -> None:
    checkpoint = engine.load("tiny")
    start = engine.encode_pictures(checkpoint, [picture()], width=SIDE, height=SIDE)

    latents = draw(checkpoint, start=start, strength=0.9, seeds=[1, 2], masking=Masking(mask=mask()))

    inside = latent_mask(mask(), latents.shape).bool().expand_as(latents)
    assert 0 < inside.float().mean() < 1
    assert torch.equal(latents[~inside], start.expand_as(latents)[~inside])
    assert not torch.isclose(latents[inside], start.expand_as(latents)[inside]).any()


def begun(engine: Any, checkpoint: Any, start: Any, **fields: Any) -> Any:
    conditioning = engine.encode_prompt(checkpoint, prompt=(), negative=(), clip_skip=1)
    size = {"width": SIDE, "height": SIDE, "seeds": [7], "sampler": "Euler", "steps": 2, "guidance_scale": 1.0}
    return denoise.begin(
        checkpoint, conditioning, **size, start=start, strength=0.5, masking=Masking(mask=mask(), **fields)
    )


def test_each_fill_puts_something_else_under_the_mask(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    start = engine.encode_pictures(checkpoint, [picture()], width=SIDE, height=SIDE)
    inside = latent_mask(mask(), start.shape).bool().expand_as(start)

    original, noisy, nothing = (
        begun(engine, checkpoint, start, fill=fill) for fill in ("ORIGINAL", "LATENT_NOISE", "LATENT_NOTHING")
    )

    assert torch.equal(original.kept.start, start)
    assert torch.equal(noisy.kept.start[inside], noisy.kept.noise[inside])
    assert (nothing.kept.start[inside] == 0).all()
    for each in (noisy, nothing):
        assert torch.equal(each.kept.start[~inside], start[~inside])
    # What is under the mask is under the first noise.
    assert torch.allclose((original.latents - nothing.latents)[inside], start[inside], atol=1e-4)


def test_the_noise_multiplier_is_of_the_first_noise_alone(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    start = torch.zeros(1, 4, 16, 16)

    plain, louder = (begun(engine, checkpoint, start, noise_multiplier=each) for each in (1.0, 1.5))

    torch.testing.assert_close(louder.latents, 1.5 * plain.latents)
    assert torch.equal(louder.kept.noise, plain.kept.noise)


def test_masked_requests_share_a_batch_with_others(engine: Any) -> None:
    checkpoint = engine.load("sd15")
    start = engine.encode_pictures(checkpoint, [picture()], width=SIDE, height=SIDE)
    one, other, alone = (begun(engine, checkpoint, start) for _ in range(3))
    other.kept = None

    run(checkpoint, one, other)
    run(checkpoint, alone)

    torch.testing.assert_close(one.latents, alone.latents, rtol=0, atol=1e-4)
