import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from gpu_worker.engine.samplers import RECIPES, new_scheduler
from jobs.catalog import Family
from jobs.errors import FatalFailure
from jobs.samplers import Sampler, UnknownSampler, canonical
from jobs.schedules import WITHOUT_SCHEDULES, WITHOUT_SIGMAS, Schedule, UnknownSchedule
from jobs.schedules import canonical as canonical_schedule


def test_every_name_has_a_scheduler_and_no_other_has() -> None:
    assert set(RECIPES) == set(Sampler)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", "DPM++ 2M Karras"),
        ("Euler_a", "Euler a"),
        ("euler a", "Euler a"),
        (" dpm++_2m_sde_karras", "DPM++ 2M SDE Karras"),
        ("unipc", "UniPC"),
    ],
)
def test_spelling_of_a_name_is_forgiven(written: str, meant: str) -> None:
    assert canonical(written) == meant


def test_an_unknown_name_gets_near_ones_suggested() -> None:
    with pytest.raises(UnknownSampler, match=r"DPM\+\+ 2M Karras"):
        canonical("DPM++ 2N Karras")


def test_names_are_known_without_torch() -> None:
    code = "import jobs.samplers, sys; sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_request_gets_a_scheduler_of_its_own(engine: Any) -> None:
    config = engine.load("tiny").scheduler_config

    first, second = (new_scheduler("Euler", config, steps=2, seeds=[1], device="cpu") for _ in range(2))

    assert first is not second


KARRAS = {"use_karras_sigmas": True}
PLAIN = {"use_karras_sigmas": False}


# After diffusers' own list of what A1111's and k-diffusion's names mean: docs/source/en/api/schedulers/overview.md.
@pytest.mark.parametrize(
    ("sampler", "scheduler", "options"),
    [
        ("Euler a", "EulerAncestralDiscreteScheduler", {}),
        ("Euler", "EulerDiscreteScheduler", PLAIN),
        ("Euler Karras", "EulerDiscreteScheduler", KARRAS),
        ("Heun", "HeunDiscreteScheduler", PLAIN),
        ("LMS", "LMSDiscreteScheduler", PLAIN),
        ("LMS Karras", "LMSDiscreteScheduler", KARRAS),
        ("DPM2", "KDPM2DiscreteScheduler", PLAIN),
        ("DPM2 Karras", "KDPM2DiscreteScheduler", KARRAS),
        ("DPM2 a", "KDPM2AncestralDiscreteScheduler", PLAIN),
        ("DPM2 a Karras", "KDPM2AncestralDiscreteScheduler", KARRAS),
        ("DPM++ 2S a", "AncestralSecondOrderScheduler", PLAIN),
        ("DPM++ 2S a Karras", "AncestralSecondOrderScheduler", KARRAS),
        ("DPM fast", "FastScheduler", {}),
        ("DPM++ 2M", "DPMSolverMultistepScheduler", PLAIN | {"algorithm_type": "dpmsolver++", "solver_order": 2}),
        ("DPM++ 2M Karras", "DPMSolverMultistepScheduler", KARRAS | {"algorithm_type": "dpmsolver++"}),
        ("DPM++ SDE", "DPMSolverSDEScheduler", PLAIN | {"noise_sampler_seed": [5]}),
        ("DPM++ SDE Karras", "DPMSolverSDEScheduler", KARRAS | {"noise_sampler_seed": [5]}),
        (
            "DPM++ 2M SDE",
            "DPMSolverMultistepScheduler",
            PLAIN | {"algorithm_type": "sde-dpmsolver++", "solver_order": 2},
        ),
        ("DPM++ 2M SDE Karras", "DPMSolverMultistepScheduler", KARRAS | {"algorithm_type": "sde-dpmsolver++"}),
        (
            "DPM++ 3M SDE",
            "DPMSolverMultistepScheduler",
            PLAIN | {"algorithm_type": "sde-dpmsolver++", "solver_order": 3},
        ),
        ("DPM++ 3M SDE Karras", "DPMSolverMultistepScheduler", KARRAS | {"solver_order": 3}),
        ("DDIM", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False}),
        ("PLMS", "PNDMScheduler", {"skip_prk_steps": True}),
        ("UniPC", "UniPCMultistepScheduler", PLAIN),
        ("LCM", "LCMScheduler", {}),
    ],
)
@pytest.mark.parametrize("model", ["tiny", "sd15"])
def test_names_mean_what_the_field_means(
    engine: Any, model: str, sampler: str, scheduler: str, options: dict[str, Any]
) -> None:
    # "tiny" comes with Karras' noise levels in its own config, "sd15" does not.
    config = new_scheduler(sampler, engine.load(model).scheduler_config, steps=4, seeds=[5], device="cpu").config

    assert config["_class_name"] == scheduler
    assert {name: config[name] for name in options} == options
    assert (config["beta_start"], config["beta_schedule"], config["steps_offset"]) == (0.00085, "scaled_linear", 1)


def test_steps_that_a_sampler_cannot_take_are_a_fatal_failure(engine: Any) -> None:
    # LCM was distilled for at most 50.
    with pytest.raises(FatalFailure, match="LCM cannot take 60 steps"):
        new_scheduler("LCM", engine.load("tiny").scheduler_config, steps=60, seeds=[1], device="cpu")


def test_the_checkpoint_keeps_its_prediction_type(engine: Any) -> None:
    scheduler = new_scheduler("DDIM", engine.load("tiny").scheduler_config, steps=2, seeds=[1], device="cpu")

    assert scheduler.config.prediction_type == "v_prediction"


@pytest.mark.parametrize("sampler", list(Sampler))
@pytest.mark.parametrize("steps", [1, 2])
def test_few_steps_are_enough_for_every_sampler(engine: Any, draw: Any, sampler: str, steps: int) -> None:
    latents = draw(engine.load("tiny"), sampler=sampler, steps=steps)

    assert latents.isfinite().all()


CONFIG = {"num_train_timesteps": 1000, "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
ALLOWED = [
    (sampler, schedule)
    for sampler in Sampler
    for schedule in Schedule
    if sampler not in WITHOUT_SCHEDULES and not (schedule.is_of_sigmas and sampler in WITHOUT_SIGMAS)
]


@pytest.mark.parametrize(("sampler", "schedule"), ALLOWED)
def test_a_schedule_is_followed(sampler: Sampler, schedule: Schedule) -> None:
    assert canonical_schedule(schedule.value.upper(), sampler, Family.SD15) is schedule
    scheduler = new_scheduler(sampler, CONFIG, steps=10, seeds=[1], device="cpu", schedule=schedule)
    first = float(scheduler.timesteps[0])

    match schedule:
        case Schedule.KARRAS:
            # Karras et al. 2022, eq. 5: equal steps of the seventh root.
            assert _is_even(scheduler.sigmas.unique() ** (1 / 7))
        case Schedule.EXPONENTIAL:
            assert _is_even(scheduler.sigmas.unique().clamp(min=1e-9).log())
        case Schedule.BETA:
            assert first > 950
        case Schedule.UNIFORM | Schedule.SGM_UNIFORM | Schedule.SIMPLE:
            assert first == pytest.approx(999, abs=0.1)
        case Schedule.DDIM_UNIFORM:
            assert first < 950


def _is_even(values: Any) -> bool:
    """Of all but the last step, which ends at 0."""
    steps = np.diff(np.asarray(values)[1:])
    # Samplers of two calls a step stand between two of its values, so that there every second one is even.
    return bool(np.ptp(steps) < 1e-3 * steps.mean() or np.ptp(steps[::2]) < 0.15 * steps.mean())


@pytest.mark.parametrize(
    ("sampler", "name"),
    [("Euler a", "karras"), ("LCM", "simple"), ("DPM fast", "simple"), ("Euler", "karas"), ("DDIM", "beta")],
)
def test_other_schedules_are_refused_by_name(sampler: str, name: str) -> None:
    with pytest.raises(UnknownSchedule, match=name if sampler != "Euler" else "did you mean 'karras'"):
        canonical_schedule(name, Sampler(sampler), Family.SD15)


@pytest.mark.parametrize("name", ["", "automatic", "DEFAULT"])
def test_no_schedule_is_the_samplers_own(name: str) -> None:
    assert canonical_schedule(name, Sampler.EULER, Family.SD15) is None
