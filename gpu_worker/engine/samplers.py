"""Which scheduler computes which sampler: one of diffusers', or of `dpm`.

The names, and which is the default, are in `jobs.samplers`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSDEScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    KDPM2AncestralDiscreteScheduler,
    KDPM2DiscreteScheduler,
    LCMScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
    UniPCMultistepScheduler,
)

from gpu_worker.engine.dpm import AdaptiveScheduler, AncestralSecondOrderScheduler, FastScheduler
from jobs.errors import FatalFailure
from jobs.samplers import Sampler, UnknownSampler, canonical
from jobs.schedules import Schedule
from jobs.words import count


@dataclass(frozen=True, slots=True)
class Recipe:
    """A scheduler class and what the sampler's name fixes; all else comes from the checkpoint's own config."""

    scheduler: type[Any]
    options: Mapping[str, Any] = field(default_factory=dict)


# Options are named even where they are the class's default: the checkpoint's config may say otherwise.
_PLAIN = {"use_karras_sigmas": False}
_KARRAS = {"use_karras_sigmas": True}
_DPMPP_2M = {"algorithm_type": "dpmsolver++", "solver_order": 2}
_DPMPP_2M_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 2}
_DPMPP_3M_SDE = {"algorithm_type": "sde-dpmsolver++", "solver_order": 3}
# Stable Diffusion's own DDIM clips nothing and ends at the first training step, not at alpha 1.
_DDIM = {"clip_sample": False, "set_alpha_to_one": False}

RECIPES: Mapping[Sampler, Recipe] = {
    Sampler.EULER_A: Recipe(EulerAncestralDiscreteScheduler),
    Sampler.EULER: Recipe(EulerDiscreteScheduler, _PLAIN),
    Sampler.EULER_KARRAS: Recipe(EulerDiscreteScheduler, _KARRAS),
    Sampler.HEUN: Recipe(HeunDiscreteScheduler, _PLAIN | {"clip_sample": False}),
    Sampler.LMS: Recipe(LMSDiscreteScheduler, _PLAIN),
    Sampler.LMS_KARRAS: Recipe(LMSDiscreteScheduler, _KARRAS),
    Sampler.DPM2: Recipe(KDPM2DiscreteScheduler, _PLAIN),
    Sampler.DPM2_KARRAS: Recipe(KDPM2DiscreteScheduler, _KARRAS),
    Sampler.DPM2_A: Recipe(KDPM2AncestralDiscreteScheduler, _PLAIN),
    Sampler.DPM2_A_KARRAS: Recipe(KDPM2AncestralDiscreteScheduler, _KARRAS),
    Sampler.DPMPP_2S_A: Recipe(AncestralSecondOrderScheduler, _PLAIN),
    Sampler.DPMPP_2S_A_KARRAS: Recipe(AncestralSecondOrderScheduler, _KARRAS),
    Sampler.DPMPP_2M: Recipe(DPMSolverMultistepScheduler, _PLAIN | _DPMPP_2M),
    Sampler.DPMPP_2M_KARRAS: Recipe(DPMSolverMultistepScheduler, _KARRAS | _DPMPP_2M),
    Sampler.DPMPP_SDE: Recipe(DPMSolverSDEScheduler, _PLAIN),
    Sampler.DPMPP_SDE_KARRAS: Recipe(DPMSolverSDEScheduler, _KARRAS),
    Sampler.DPMPP_2M_SDE: Recipe(DPMSolverMultistepScheduler, _PLAIN | _DPMPP_2M_SDE),
    Sampler.DPMPP_2M_SDE_KARRAS: Recipe(DPMSolverMultistepScheduler, _KARRAS | _DPMPP_2M_SDE),
    Sampler.DPMPP_3M_SDE: Recipe(DPMSolverMultistepScheduler, _PLAIN | _DPMPP_3M_SDE),
    Sampler.DPMPP_3M_SDE_KARRAS: Recipe(DPMSolverMultistepScheduler, _KARRAS | _DPMPP_3M_SDE),
    Sampler.DPM_FAST: Recipe(FastScheduler, _PLAIN),
    Sampler.DPM_ADAPTIVE: Recipe(AdaptiveScheduler, _PLAIN),
    Sampler.DDIM: Recipe(DDIMScheduler, _DDIM),
    Sampler.PLMS: Recipe(PNDMScheduler, {"skip_prk_steps": True}),
    Sampler.UNIPC: Recipe(UniPCMultistepScheduler, _PLAIN),
    Sampler.LCM: Recipe(LCMScheduler, {"clip_sample": False}),
}


# Named instead of what the sampler's recipe says. Source: diffusers' documentation, "Schedulers", noise schedules and
# sigmas beside their names in other programs.
SCHEDULES: Mapping[Schedule, Mapping[str, Any]] = {
    Schedule.KARRAS: _KARRAS,
    Schedule.EXPONENTIAL: _PLAIN | {"use_exponential_sigmas": True},
    Schedule.BETA: _PLAIN | {"use_beta_sigmas": True},
    Schedule.UNIFORM: _PLAIN | {"timestep_spacing": "linspace"},
    Schedule.SGM_UNIFORM: _PLAIN | {"timestep_spacing": "trailing"},
    Schedule.SIMPLE: _PLAIN | {"timestep_spacing": "trailing"},
    Schedule.DDIM_UNIFORM: _PLAIN | {"timestep_spacing": "leading"},
}


def new_scheduler(
    name: str,
    config: Mapping[str, Any],
    *,
    steps: int,
    seeds: Sequence[int],
    device: Any,
    schedule: str | None = None,
) -> Any:
    """A fresh scheduler, its timesteps set: it keeps the state of one request and serves no other.

    `schedule` is one of `jobs.schedules`, None the sampler's own.

    Raises FatalFailure for a name that is not in `jobs.samplers`, or steps that the sampler cannot take.
    """
    recipe = RECIPES[_known(name)]
    options = {**recipe.options, **(SCHEDULES[Schedule(schedule)] if schedule else {})}
    if recipe.scheduler is DPMSolverSDEScheduler:
        # Its Brownian noise ignores generators; without a seed each, a picture would depend on its batch.
        options["noise_sampler_seed"] = list(seeds)
    scheduler = recipe.scheduler.from_config(config, **options)
    try:
        scheduler.set_timesteps(steps, device=device)
    except ValueError as error:
        raise FatalFailure(f"{name} cannot take {count(steps, 'step')}: {error}") from error
    return scheduler


def _known(name: str) -> Sampler:
    try:
        return canonical(name)
    except UnknownSampler as error:
        raise FatalFailure(error.message) from error
