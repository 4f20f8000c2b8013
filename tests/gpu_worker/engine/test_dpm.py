"""Samplers of our own: against their published algorithms, written as one loop over a denoiser, and against an ODE that
is solved by hand."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from gpu_worker.engine.samplers import new_scheduler
from jobs.errors import FatalFailure
from jobs.samplers import Sampler

CONFIG = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
Denoiser = Callable[[Tensor, float], Tensor]
SPREAD = 0.8


def of_gaussians(x: Tensor, sigma: float) -> Tensor:
    """The best denoiser of pictures that are gaussian noise of deviation SPREAD themselves."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def of_sines(x: Tensor, sigma: float) -> Tensor:
    """One that is not linear."""
    return torch.sin(2 * x / (1 + sigma)) + 0.3


def output_of(clean: Tensor, x: Tensor, sigma: float, prediction: str) -> Tensor:
    """What a UNet that is trained to predict so would have said. Source: Salimans and Ho 2022, appendix D."""
    match prediction:
        case "epsilon":
            return (x - clean) / sigma
        case "v_prediction":
            root = math.sqrt(sigma**2 + 1)
            return (x / (sigma * root)) - clean * root / sigma
        case _:
            return clean


def drawn(name: str, denoiser: Denoiser, x: Tensor, steps: int, *, prediction: str = "epsilon", begin: int = 0) -> Any:
    """As the engine's loop draws: where it ends, and the levels of its calls."""
    config = CONFIG | {"prediction_type": prediction}
    scheduler = new_scheduler(name, config, steps=steps, seeds=[1], device="cpu")
    scheduler.set_begin_index(begin * scheduler.order)
    options = {} if name == Sampler.DPM_FAST else {"generator": torch.Generator().manual_seed(3)}
    levels = []
    for timestep in scheduler.timesteps[begin * scheduler.order :]:
        given = scheduler.scale_model_input(x, timestep)
        # Asked twice, as where memory is short.
        assert torch.equal(given, scheduler.scale_model_input(x, timestep))
        sigma = float(scheduler.sigmas[scheduler.step_index])
        torch.testing.assert_close(given * math.sqrt(sigma**2 + 1), x)
        levels.append(sigma)
        clean = denoiser(x, sigma)
        x, told = scheduler.step(output_of(clean, x, sigma, prediction), timestep, x, **options, return_dict=False)
        torch.testing.assert_close(told, clean, rtol=1e-4, atol=1e-4)
    return x, levels, scheduler


def dpmpp_2s_ancestral(denoiser: Denoiser, x: Tensor, sigmas: list[float]) -> Tensor:
    """Lu et al. 2022b, algorithm 1 with r = 1/2, and ancestral noise; k-diffusion's choices."""
    generator = torch.Generator().manual_seed(3)
    for high, low in pairwise(sigmas):
        clean = denoiser(x, high)
        if low == 0:
            x = clean
            continue
        up = min(low, math.sqrt(low**2 * (high**2 - low**2) / high**2))
        down = math.sqrt(low**2 - up**2)
        t, t_next = -math.log(high), -math.log(down)
        h = t_next - t
        s = t + h / 2
        middle = math.exp(-s) / math.exp(-t) * x - math.expm1(-h / 2) * clean
        x = math.exp(-t_next) / math.exp(-t) * x - math.expm1(-h) * denoiser(middle, math.exp(-s))
        x = x + torch.randn(x.shape, generator=generator) * up
    return x


def dpm_fast(denoiser: Denoiser, x: Tensor, high: float, low: float, calls: int) -> Tensor:
    """Lu et al. 2022a, algorithms 1, 2 and 4, in k-diffusion's order."""
    legs = calls // 3 + 1
    orders = [3] * (legs - 2) + [2, 1] if calls % 3 == 0 else [3] * (legs - 1) + [calls % 3]
    ts = [-math.log(high) + i * (math.log(high) - math.log(low)) / legs for i in range(legs + 1)]

    def noise(u: Tensor, t: float) -> Tensor:
        return (u - denoiser(u, math.exp(-t))) / math.exp(-t)

    for (t, t_next), order in zip(pairwise(ts), orders, strict=True):
        h, e = t_next - t, noise(x, t)
        straight = x - math.exp(-t_next) * math.expm1(h) * e
        if order == 1:
            x = straight
        elif order == 2:
            e1 = noise(x - math.exp(-(t + h / 2)) * math.expm1(h / 2) * e, t + h / 2)
            x = straight - math.exp(-t_next) * math.expm1(h) * (e1 - e)
        else:
            s1, s2 = t + h / 3, t + 2 * h / 3
            e1 = noise(x - math.exp(-s1) * math.expm1(h / 3) * e, s1)
            u2 = x - math.exp(-s2) * math.expm1(2 * h / 3) * e
            u2 = u2 - math.exp(-s2) * 2 * (math.expm1(2 * h / 3) / (2 * h / 3) - 1) * (e1 - e)
            x = straight - math.exp(-t_next) * 1.5 * (math.expm1(h) / h - 1) * (noise(u2, s2) - e)
    return x


def dpm_adaptive(denoiser: Denoiser, x: Tensor, high: float, low: float) -> tuple[Tensor, list[float]]:
    """k-diffusion's: orders 2 and 3, rtol 0.05, atol 0.0078, first step 0.05, a controller of the integral part alone.
    Gives too the levels that it took."""
    t, end, h, before, taken = -math.log(high), -math.log(low), 0.05, x, []

    def noise(u: Tensor, t: float) -> Tensor:
        return (u - denoiser(u, math.exp(-t))) / math.exp(-t)

    while t < end - 1e-5:
        to = min(end, t + h)
        step, e = to - t, noise(x, t)
        s1, s2 = t + step / 3, t + 2 * step / 3
        e1 = noise(x - math.exp(-s1) * math.expm1(step / 3) * e, s1)
        u2 = x - math.exp(-s2) * math.expm1(2 * step / 3) * e
        u2 = u2 - math.exp(-s2) * 2 * (math.expm1(2 * step / 3) / (2 * step / 3) - 1) * (e1 - e)
        straight = x - math.exp(-to) * math.expm1(step) * e
        second = straight - math.exp(-to) / (2 / 3) * math.expm1(step) * (e1 - e)
        third = straight - math.exp(-to) * 1.5 * (math.expm1(step) / step - 1) * (noise(u2, s2) - e)
        delta = torch.maximum(torch.tensor(0.0078), 0.05 * torch.maximum(second.abs(), before.abs()))
        error = float(torch.linalg.norm((second - third) / delta)) / x.numel() ** 0.5
        factor = 1 + math.atan((1 / (error + 1e-8)) ** (1 / 3) - 1)
        if factor >= 0.81:
            before, x, t = second, third, to
            taken.append(math.exp(-t))
        h *= factor
    return x, taken


@pytest.fixture
def start() -> Tensor:
    return torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(7)) * 14.6


@pytest.mark.parametrize("name", ["DPM++ 2S a", "DPM++ 2S a Karras"])
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize(("steps", "begin"), [(1, 0), (2, 0), (9, 0), (9, 5)])
def test_2s_a_is_the_published_algorithm(start: Tensor, name: str, prediction: str, steps: int, begin: int) -> None:
    euler = new_scheduler(name.replace("DPM++ 2S a", "Euler"), CONFIG, steps=steps, seeds=[1], device="cpu")
    sigmas = [float(sigma) for sigma in euler.sigmas[begin:]]

    ended, levels, _ = drawn(name, of_sines, start, steps, prediction=prediction, begin=begin)

    torch.testing.assert_close(ended, dpmpp_2s_ancestral(of_sines, start, sigmas), rtol=1e-4, atol=1e-4)
    assert levels[::2] == pytest.approx(sigmas[:-1])
    assert len(levels) == 2 * (steps - begin) - 1


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("steps", range(1, 11))
def test_fast_is_the_published_algorithm(start: Tensor, prediction: str, steps: int) -> None:
    ended, levels, scheduler = drawn("DPM fast", of_sines, start, steps, prediction=prediction)

    high, low = float(scheduler.sigmas[0]), float(scheduler.sigmas[-1])
    assert (high, low) == (pytest.approx(14.6146, abs=1e-3), pytest.approx(0.0292, abs=1e-4))
    torch.testing.assert_close(ended, dpm_fast(of_sines, start, high, low, steps), rtol=1e-3, atol=1e-3)
    assert len(levels) == steps


@pytest.mark.parametrize("begin", [1, 4, 9])
def test_fast_begins_from_a_picture_at_its_level(start: Tensor, begin: int) -> None:
    euler = new_scheduler("Euler", CONFIG, steps=10, seeds=[1], device="cpu")

    ended, levels, scheduler = drawn("DPM fast", of_sines, start, 10, begin=begin)

    high, low = float(euler.sigmas[begin]), float(euler.sigmas[-2])
    assert (levels[0], len(levels)) == (pytest.approx(high), 10 - begin)
    torch.testing.assert_close(ended, dpm_fast(of_sines, start, high, low, 10 - begin), rtol=1e-3, atol=1e-3)
    noised = scheduler.add_noise(start, torch.ones_like(start), scheduler.timesteps[begin : begin + 1])
    assert noised.isfinite().all()


def test_fast_nears_the_solution_as_its_order_says(start: Tensor) -> None:
    errors = []
    for steps in (12, 24, 48):
        ended, _, scheduler = drawn("DPM fast", of_gaussians, start, steps)
        high, low = float(scheduler.sigmas[0]), float(scheduler.sigmas[-1])
        # dx/dσ = (x - clean) / σ = x σ / (SPREAD² + σ²), so x grows with the root of SPREAD² + σ².
        solution = start * math.sqrt((SPREAD**2 + low**2) / (SPREAD**2 + high**2))
        errors.append(float((ended - solution).abs().max() / solution.abs().max()))

    assert errors[0] < 0.1 and errors[2] < 2e-3
    # Twice the calls, an eighth of the error, but for the short legs at the end.
    assert errors[0] / errors[1] > 4 and errors[1] / errors[2] > 4


def of_cliffs(x: Tensor, sigma: float) -> Tensor:
    """One that changes its mind at once: a leg over that is too long."""
    return of_sines(x, sigma) if sigma > 2 else 3 - of_sines(x, sigma)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("denoiser", [of_gaussians, of_sines, of_cliffs])
def test_adaptive_is_the_published_algorithm(start: Tensor, prediction: str, denoiser: Denoiser) -> None:
    ended, levels, scheduler = adaptively(denoiser, start, prediction=prediction)

    high, low = levels[0], float(scheduler.sigmas[-1])
    expected, taken = dpm_adaptive(denoiser, start, high, low)
    torch.testing.assert_close(ended, expected, rtol=1e-2, atol=1e-2)
    assert (high, low) == (pytest.approx(14.6146, abs=1e-3), pytest.approx(0.0292, abs=1e-4))
    assert all(min(abs(math.log(level / each)) for each in levels) < 1e-2 for level in taken[:-1])
    # A leg that was not taken is tried again from the noise that was seen at its beginning: two calls more.
    more = len(levels) - 3 * len(taken)
    assert more % 2 == 0 and more >= (4 if denoiser is of_cliffs else 0)
    assert len(levels) == len(scheduler.timesteps) and scheduler.share_done == 1


def adaptively(denoiser: Denoiser, x: Tensor, *, prediction: str = "epsilon", begin: int = 0) -> Any:
    config = CONFIG | {"prediction_type": prediction}
    scheduler = new_scheduler("DPM adaptive", config, steps=10, seeds=[1], device="cpu")
    scheduler.set_begin_index(begin)
    levels: list[float] = []
    shares = [0.0]
    while len(scheduler.timesteps) > begin + len(levels):
        timestep = scheduler.timesteps[begin + len(levels)]
        scheduler.scale_model_input(x, timestep)
        sigma = float(scheduler.sigmas[scheduler.step_index])
        levels.append(sigma)
        output = output_of(denoiser(x, sigma), x, sigma, prediction)
        x, _ = scheduler.step(output, timestep, x, return_dict=False)
        shares.append(scheduler.share_done)
    assert shares == sorted(shares)
    return x, levels, scheduler


def test_adaptive_solves_what_is_solved_by_hand(start: Tensor) -> None:
    ended, levels, scheduler = adaptively(of_gaussians, start)

    solution = start * math.sqrt((SPREAD**2 + float(scheduler.sigmas[-1]) ** 2) / (SPREAD**2 + levels[0] ** 2))
    assert float((ended - solution).abs().max() / solution.abs().max()) < 0.05


@pytest.mark.parametrize("begin", [4, 9])
def test_adaptive_begins_from_a_picture_at_its_level(start: Tensor, begin: int) -> None:
    euler = new_scheduler("Euler", CONFIG, steps=10, seeds=[1], device="cpu")

    ended, levels, scheduler = adaptively(of_sines, start, begin=begin)

    assert levels[0] == pytest.approx(float(euler.sigmas[begin]))
    assert float(scheduler.sigmas[-1]) == pytest.approx(float(euler.sigmas[-2]), rel=0.06)
    assert ended.isfinite().all()


@pytest.mark.parametrize("said", [math.nan, math.inf])
def test_adaptive_ends_where_the_denoiser_says_no_number(start: Tensor, said: float) -> None:
    with pytest.raises(FatalFailure, match="no number"):
        adaptively(lambda x, sigma: x * said, start)


def test_adaptive_ends_where_no_leg_is_short_enough(start: Tensor) -> None:
    random = torch.Generator().manual_seed(1)

    with pytest.raises(FatalFailure, match="not come to an end"):
        adaptively(lambda x, sigma: 100 * torch.randn(x.shape, generator=random), start)


def test_adaptive_shows_each_step_at_most_once_and_all_pictures(engine: Any, draw: Any) -> None:
    checkpoint, sizes, steps = engine.load("tiny"), [], []

    class Watcher:
        def step_done(self, step: int, of: int, preview: Any) -> None:
            steps.append((step, of))
            sizes.append(len(preview()))

    latents = draw(checkpoint, sampler="DPM adaptive", steps=10, seeds=[7, 8], watch=Watcher())

    assert latents.shape[0] == 2 and latents.isfinite().all()
    assert steps == sorted(set(steps)) and steps[-1] == (10, 10)
    assert set(sizes) == {2}


def test_adaptive_goes_on_from_a_start_for_each_picture(engine: Any, draw: Any) -> None:
    checkpoint = engine.load("tiny")
    starts = draw(checkpoint, seeds=[7, 8])

    both = draw(checkpoint, sampler="DPM adaptive", seeds=[1, 2], start=starts, strength=0.6)
    second = draw(checkpoint, sampler="DPM adaptive", seeds=[2], start=starts[1:], strength=0.6)

    torch.testing.assert_close(both[1:], second, rtol=0, atol=1e-4)


def test_the_timestep_of_a_call_is_that_of_its_level() -> None:
    scheduler = new_scheduler("DPM++ 2S a", CONFIG, steps=10, seeds=[1], device="cpu")
    trained = ((1 - scheduler.alphas_cumprod) / scheduler.alphas_cumprod) ** 0.5

    for timestep, sigma in zip(scheduler.timesteps, scheduler.sigmas, strict=False):
        below, above = trained[int(timestep)], trained[min(math.ceil(timestep), 999)]
        assert below * 0.999 <= sigma <= above * 1.001
