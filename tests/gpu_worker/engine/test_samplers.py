import subprocess
import sys
from typing import Any

import pytest

from gpu_worker.engine.samplers import RECIPES, new_scheduler
from jobs.errors import FatalFailure
from jobs.samplers import Sampler, UnknownSampler, canonical


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
