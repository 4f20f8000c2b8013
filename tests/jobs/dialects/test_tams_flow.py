"""Jobs that draw with a model that learned a straight way from noise to picture: SD 3 and FLUX."""

from typing import Any

import pytest

from tests.jobs.dialects.parsing import diffusion_of, faults, parse, with_stage
from tests.jobs.samples import body

XL_SIZE = {"width": 1024, "height": 1024}


def sd3(**fields: Any) -> dict[str, Any]:
    return {"sdModel": "sd3", **XL_SIZE, **fields}


def test_without_a_sampler_it_is_drawn_with_one_that_goes_with_it() -> None:
    assert diffusion_of(**sd3(sampler="")).sampler == "Euler"
    assert diffusion_of(**sd3(sampler="DPM++ 2M")).sampler == "DPM++ 2M"


def test_a_sampler_that_does_not_go_with_it_is_refused() -> None:
    reasons = faults(body(**sd3(sampler="DPM++ 2M Karras")))

    assert "with SD3 and FLUX go 'Euler', " in reasons["stages[1].diffusion.sampler"]


@pytest.mark.parametrize(("sampler", "schedule"), [("Heun", "karras"), ("Euler", "DDIM uniform")])
def test_a_schedule_that_it_cannot_follow_is_refused(sampler: str, schedule: str) -> None:
    reasons = faults(body(**sd3(sampler=sampler, scheduleName=schedule)))

    assert f"with SD3 and FLUX the sampler {sampler} cannot" in reasons["stages[1].diffusion.scheduleName"]


def test_a_schedule_that_it_follows_is_kept() -> None:
    assert diffusion_of(**sd3(sampler="Euler", scheduleName="SGM Uniform")).schedule == "sgm_uniform"


def test_a_looks_own_checkpoint_must_take_the_sampler_of_the_stage() -> None:
    look = {"args": [{"adUseCheckpoint": True, "adCheckpoint": "sd3"}]}
    asked = with_stage("IMAGE_TO_ADETAILER", "imageToAdetailer", look, sampler="DPM++ 2M Karras")

    reasons = faults(asked)

    assert "with SD3 and FLUX go" in reasons["stages[2].imageToAdetailer.args[0].adCheckpoint"]


def test_flux_is_told_less_guidance_than_others_compute() -> None:
    wish = {"sampler": "Euler", **XL_SIZE}

    assert diffusion_of(sdModel="flux", cfgScale=None, **wish).guidance_scale == 3.5
    assert diffusion_of(sdModel="sd3", cfgScale=None, **wish).guidance_scale == 7.0
    assert diffusion_of(sdModel="flux", cfgScale=5, **wish).guidance_scale == 5.0


def test_flux_reads_no_layer_of_clip_but_the_last() -> None:
    asked = body(sdModel="flux", sampler="Euler", clipSkip=2, **XL_SIZE)

    assert "no layer of CLIP but the last" in faults(asked)["stages[1].diffusion.clipSkip"]


def test_block_weights_of_flux_are_its_own() -> None:
    def asked(weights: str) -> Any:
        lora = {"items": [{"loraModel": "flux-ink", "blockWeight": weights}]}
        return body(sdModel="flux", sampler="Euler", lora=lora, **XL_SIZE)

    reasons = faults(asked("1:lbw=ALL"))

    reason = "must have 61 weights for a FLUX model; the presets are for UNets"
    assert reasons == {"stages[1].diffusion.lora.items[0].blockWeight": reason}
    assert parse(asked("1:lbw=1" + ",0" * 60)).stages


def test_block_weights_of_flux_are_for_no_unet() -> None:
    lora = {"items": [{"loraModel": "ink", "blockWeight": "1:lbw=1" + ",0" * 60}]}

    reasons = faults(body(lora=lora))

    reason = "has the 61 weights of FLUX's blocks, for a SD15 model"
    assert reasons == {"stages[1].diffusion.lora.items[0].blockWeight": reason}


def test_modes_of_controlnets_are_made_of_the_levels_of_a_unet() -> None:
    def asked(mode: str) -> Any:
        arg = {"preprocessor": "none", "model": "flux-canny", "inputImageResourceId": "r1", "controlMode": mode}
        return body(sdModel="flux", sampler="Euler", controlnet={"args": [arg]}, **XL_SIZE)

    reasons = faults(asked("MY_PROMPT_IS_MORE_IMPORTANT"))

    (reason,) = reasons.values()
    assert list(reasons) == ["stages[1].diffusion.controlnet.args[0].controlMode"]
    assert reason.startswith("must be BALANCED: MY_PROMPT_IS_MORE_IMPORTANT is made of the levels of a UNet")
    assert parse(asked("DEFAULT")).stages
