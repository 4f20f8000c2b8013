from typing import Any

import pytest
import torch

from gpu_worker.engine import denoise
from gpu_worker.engine.denoise import Denoising
from jobs.errors import FatalFailure
from jobs.prompt import Piece
from jobs.samplers import ADAPTIVE, MAX_STEPS, Sampler
from jobs.stages.image_to_upscaler import MAX_SCHEDULE


def begun(engine: Any, checkpoint: Any, prompt: str = "a red cat", **wish: Any) -> Denoising:
    conditioning = engine.encode_prompt(checkpoint, prompt=(Piece(prompt),), negative=(Piece("blue"),), clip_skip=1)
    defaults = {"width": 128, "height": 128, "seeds": [7], "sampler": "Euler", "steps": 3, "guidance_scale": 5.0}
    return denoise.begin(checkpoint, conditioning, **(defaults | wish))


def run(checkpoint: Any, *all_of_them: Denoising) -> int:
    """Denoises all together to their ends; returns how often the UNet was called."""
    calls = 0
    with torch.inference_mode():
        while waiting := [denoising for denoising in all_of_them if not denoising.is_done]:
            denoise.step(checkpoint, waiting)
            calls += 1
    return calls


@pytest.mark.parametrize("model", ["tiny", "sdxl"])
def test_different_requests_in_one_batch_draw_what_each_draws_alone(engine: Any, model: str) -> None:
    checkpoint = engine.load(model)
    wishes: list[dict[str, Any]] = [
        {"prompt": "a red cat", "sampler": "Euler a", "steps": 5, "guidance_scale": 7.0, "seeds": [1, 2]},
        {"prompt": "a dog", "sampler": "DPM++ 2M Karras", "steps": 3, "guidance_scale": 1.0, "seeds": [3]},
        {"prompt": "the sea", "sampler": "DPM++ SDE", "steps": 2, "guidance_scale": 3.0, "seeds": [4]},
    ]
    alone = [begun(engine, checkpoint, **wish) for wish in wishes]
    calls_alone = sum(run(checkpoint, denoising) for denoising in alone)
    together = [begun(engine, checkpoint, **wish) for wish in wishes]

    calls = run(checkpoint, *together)

    assert (calls_alone, calls) == (5 + 3 + 3, 5)
    for mine, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(mine.latents, theirs.latents, rtol=0, atol=1e-4)


def test_without_guidance_the_unet_sees_only_the_prompt(engine: Any) -> None:
    checkpoint = engine.load("tiny")

    assert len(begun(engine, checkpoint, guidance_scale=1.0, seeds=[1, 2]).denoiser_input()) == 2
    assert len(begun(engine, checkpoint, guidance_scale=1.1, seeds=[1, 2]).denoiser_input()) == 4


@pytest.mark.parametrize("sampler", [each for each in Sampler if each not in ADAPTIVE])
def test_progress_rises_to_exactly_the_steps(engine: Any, sampler: str) -> None:
    checkpoint = engine.load("tiny")
    denoising = begun(engine, checkpoint, sampler=sampler, steps=5)
    seen = [denoising.steps_done]

    with torch.inference_mode():
        while not denoising.is_done:
            denoise.step(checkpoint, [denoising])
            seen.append(denoising.steps_done)

    assert sorted(set(seen)) == [0, 1, 2, 3, 4, 5]
    assert seen == sorted(seen)


def exact_predictions(denoising: Denoising, clean: torch.Tensor) -> torch.Tensor:
    """What a perfect one says of `denoiser_input` if the noiseless latents were `clean`: the epsilon or v of it."""
    config, timestep = denoising.scheduler.config, int(denoising.timestep)
    kept = denoising.scheduler.alphas_cumprod[timestep]
    noise = (denoising.denoiser_input() - kept**0.5 * clean) / (1 - kept) ** 0.5
    return noise if config.prediction_type == "epsilon" else kept**0.5 * noise - (1 - kept) ** 0.5 * clean


@pytest.mark.parametrize("model", ["tiny", "sd15"])
@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DPM++ 2M SDE", "DDIM", "PLMS", "UniPC"])
def test_the_clean_latents_are_those_that_a_perfect_prediction_means(engine: Any, model: str, sampler: str) -> None:
    # "tiny" predicts v, "sd15" epsilon.
    denoising = begun(engine, engine.load(model), sampler=sampler, steps=10, guidance_scale=1.0)
    clean = torch.randn_like(denoising.latents)

    for _ in range(3):
        denoising.take(exact_predictions(denoising, clean))

        torch.testing.assert_close(denoising.clean(), clean, rtol=0, atol=2e-2)


@pytest.mark.parametrize("sampler", list(Sampler))
def test_the_last_clean_latents_are_near_the_result(engine: Any, sampler: str) -> None:
    checkpoint = engine.load("tiny")
    denoising = begun(engine, checkpoint, sampler=sampler, steps=10, guidance_scale=1.0)

    run(checkpoint, denoising)

    error = (denoising.clean() - denoising.latents).std() / denoising.latents.std()
    assert error < 0.25


def test_latents_of_another_size_are_refused_as_a_start(engine: Any) -> None:
    with pytest.raises(FatalFailure, match=r"cannot begin from latents \(1, 8, 4, 4\)"):
        begun(engine, engine.load("tiny"), start=torch.zeros(1, 8, 4, 4))


def test_a_faint_strength_still_takes_a_step(engine: Any) -> None:
    denoising = begun(engine, engine.load("tiny"), start=torch.zeros(1, 8, 8, 8), strength=0.01, steps=5)

    assert len(denoising.timesteps) == 1


def test_one_start_serves_all_seeds(engine: Any, draw: Any) -> None:
    checkpoint = engine.load("tiny")
    start = draw(checkpoint)

    both = draw(checkpoint, start=start, strength=0.7, seeds=[1, 2])
    second = draw(checkpoint, start=start, strength=0.7, seeds=[2])

    torch.testing.assert_close(both[1:], second, rtol=0, atol=1e-4)


@pytest.mark.parametrize("sampler", [each for each in Sampler if each not in MAX_STEPS and each not in ADAPTIVE])
def test_the_last_steps_of_the_longest_schedule_are_taken_as_well(engine: Any, sampler: str) -> None:
    # A second pass at little strength: 4 of 500.
    checkpoint = engine.load("sd15")
    start = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    denoising = begun(engine, checkpoint, sampler=sampler, steps=MAX_SCHEDULE, start=start, strength=4.5 / MAX_SCHEDULE)

    calls = run(checkpoint, denoising)

    assert calls in (4, 5, 7, 8)  # PLMS calls once more; samplers of second order call twice a step, or at its end once
    assert 0 < (denoising.latents - start).abs().mean() < 0.3


@pytest.mark.parametrize("sampler", ["DPM++ SDE", "Euler a"])
def test_a_seed_that_a_delta_brings_below_0_goes_on_from_the_greatest(engine: Any, sampler: str) -> None:
    checkpoint = engine.load("tiny")

    below, above = (begun(engine, checkpoint, sampler=sampler, noise_seed_delta=each) for each in (-100, 2**32 - 100))
    run(checkpoint, below, above)

    assert torch.equal(below.latents, above.latents)
