"""Which scheduler computes which sampler, for models that learned a straight way from noise to picture.

There the latents are (1 - sigma) · x0 + sigma · noise, and the denoiser says noise - x0.
Source: Esser et al. 2024, arXiv:2403.03206, section 3.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from gpu_worker.engine.course import Course
from jobs import samplers, schedules
from jobs.errors import DarkroomError, FatalFailure
from jobs.samplers import Sampler, canonical
from jobs.schedules import Schedule


class _Straight:
    """What diffusers' other schedulers have, and these lack."""

    init_noise_sigma = 1.0
    config: Any

    def scale_model_input(self, latents: Tensor, _timestep: Tensor) -> Tensor:
        return latents

    def add_noise(self, start: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        # Not `scale_noise`: Heun's takes its first step with it, and needs one timestep.
        sigmas: Tensor = (timesteps / self.config.num_train_timesteps).to(start).view(-1, *[1] * (start.ndim - 1))
        return sigmas * noise + (1 - sigmas) * start


class EulerFlowScheduler(_Straight, FlowMatchEulerDiscreteScheduler):
    """Euler's method; where it is `stochastic_sampling`, LCM's: new noise over each x0."""


class HeunFlowScheduler(_Straight, FlowMatchHeunDiscreteScheduler):
    """Heun's method."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scheduler class and what the sampler's name fixes."""

    scheduler: type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)


_SOLVER = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}

RECIPES: Mapping[Sampler, Recipe] = {
    Sampler.EULER: Recipe(EulerFlowScheduler),
    Sampler.EULER_KARRAS: Recipe(EulerFlowScheduler, {"use_karras_sigmas": True}),
    Sampler.LCM: Recipe(EulerFlowScheduler, {"stochastic_sampling": True}),
    Sampler.HEUN: Recipe(HeunFlowScheduler),
    Sampler.DPMPP_2M: Recipe(
        DPMSolverMultistepScheduler, _SOLVER | {"algorithm_type": "dpmsolver++", "solver_order": 2}
    ),
    Sampler.DPMPP_2M_SDE: Recipe(
        DPMSolverMultistepScheduler, _SOLVER | {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
    ),
    Sampler.UNIPC: Recipe(UniPCMultistepScheduler, _SOLVER),
}

_PLAIN: Mapping[str, Any] = {"use_karras_sigmas": False}
_WARPED: Mapping[Schedule, Mapping[str, Any]] = {
    Schedule.KARRAS: {"use_karras_sigmas": True},
    Schedule.EXPONENTIAL: {"use_karras_sigmas": False, "use_exponential_sigmas": True},
    Schedule.BETA: {"use_karras_sigmas": False, "use_beta_sigmas": True},
}


def new_flow_scheduler(config: Mapping[str, Any], course: Course, *, patch: int, ends_at_a_step: bool) -> Any:
    """A fresh scheduler, its timesteps set, for a denoiser that takes `patch` latents of width or height for one.

    Without a schedule the last noise level but 0 is a step's length if it `ends_at_a_step`, or the least of training.
    Raises FatalFailure for a sampler or schedule that these models do not take.
    """
    sampler, wanted = _known(course.sampler, course.schedule)
    steps, mu = course.steps, _mu(config, course.tokens(patch))
    recipe = RECIPES[sampler]
    if wanted is not None and wanted not in _WARPED:
        ends_at_a_step = wanted is not Schedule.UNIFORM
    sigmas = np.linspace(1.0, 1 / steps, steps) if ends_at_a_step else None
    dynamic, trained = config.get("use_dynamic_shifting"), config["num_train_timesteps"]
    shift = math.exp(mu) if dynamic else config.get("shift", 1.0)
    if recipe.scheduler is EulerFlowScheduler:
        warped = (_WARPED.get(wanted) or _PLAIN) if wanted else {}
        scheduler = recipe.scheduler.from_config(config, **{**recipe.options, **warped})
        scheduler.set_timesteps(steps, sigmas=sigmas, mu=mu, device=course.device)
        return scheduler
    if recipe.scheduler is HeunFlowScheduler:
        scheduler = recipe.scheduler(num_train_timesteps=trained, shift=shift)
        if sigmas is not None:
            scheduler.sigma_max, scheduler.sigma_min = sigmas[0], sigmas[-1]
    else:
        scheduler = recipe.scheduler(num_train_timesteps=trained, flow_shift=shift, **recipe.options)
    scheduler.set_timesteps(steps, device=course.device)
    return scheduler


def _mu(config: Mapping[str, Any], tokens: int) -> float:
    """How far noise levels move up: the more, the larger the picture.

    Source: diffusers' FluxPipeline, calculate_shift.
    """
    least, most = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (high - low) / (most - least)
    return float(tokens * slope + low - slope * least)


def _known(name: str, schedule: str | None) -> tuple[Sampler, Schedule | None]:
    try:
        sampler = canonical(name)
        samplers.check_goes_with_flow(sampler)
        wanted = Schedule(schedule) if schedule else None
        if wanted is not None:
            schedules.check_goes_with_flow(wanted, sampler)
        return sampler, wanted
    except DarkroomError as error:
        raise FatalFailure(error.message) from error
