from dataclasses import fields, replace
from typing import Any, get_args

import pytest

from jobs.attachments import Animation, ControlNet
from jobs.capabilities import DIFFUSION_FIELDS, STAGES, RunnableStage, runnable, unsupported
from jobs.errors import Fault, TransitoryFailure
from jobs.preprocessors import Preprocessor
from jobs.stages import Stage
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_animate_diff import ImageToAnimateDiff
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.video_diffusion import VideoDiffusion
from jobs.submission import Submission
from tests.jobs.samples import submission

PLAIN = submission()
DRAWN = PLAIN.stages[1]
assert isinstance(DRAWN, Diffusion)

SAID: dict[str, Any] = {
    "animations": (Animation(),),
    "v1_clip": True,
    "ella": True,
    "pix2pix": True,
    "hunyuan_dit": True,
    "layer_diffusion": 1.0,
    "clip_encoder": "clip",
}
REFUSED: list[Stage] = [
    ImageToAnimateDiff(animations=(Animation(),), diffusion=DRAWN),
    VideoDiffusion(model="m", prompt=()),
]


def drawing(**said: Any) -> Submission:
    return replace(PLAIN, stages=(PLAIN.stages[0], replace(DRAWN, **said)))


def test_what_runs_today_is_supported() -> None:
    assert unsupported(PLAIN) == []
    assert runnable(PLAIN) == PLAIN.stages


@pytest.mark.parametrize("name", DIFFUSION_FIELDS)
def test_each_field_that_is_not_honoured_is_refused_by_the_apis_name(name: str) -> None:
    refusal = DIFFUSION_FIELDS[name]

    assert unsupported(drawing(**{name: SAID[name]})) == [Fault(f"stages[1].diffusion.{refusal.name}", refusal.reason)]


def test_all_of_them_come_at_once() -> None:
    assert len(unsupported(drawing(**SAID))) == len(DIFFUSION_FIELDS)


@pytest.mark.parametrize("stage", REFUSED, ids=lambda stage: stage.type)
def test_a_stage_that_is_not_built_is_refused_by_its_type(stage: Stage) -> None:
    asked = replace(PLAIN, stages=(*PLAIN.stages, stage))

    assert unsupported(asked) == [Fault("stages[2].type", f"{stage.type}: {STAGES[stage.type]}")]
    with pytest.raises(TransitoryFailure, match=f"this worker cannot run stages.2..type: {stage.type}"):
        runnable(asked)


def test_what_a_stage_draws_with_is_refused_like_a_diffusion_unless_it_is_that_of_the_job() -> None:
    stage = ImageToInpaint(mask="m", diffusion=replace(DRAWN, clip_encoder="clip"))
    alone = replace(PLAIN, stages=(PLAIN.stages[0], stage))
    reason = DIFFUSION_FIELDS["clip_encoder"].reason

    assert unsupported(alone) == [Fault("stages[1].imageToInpaint.diffusion.clipEncoderName", reason)]
    assert unsupported(replace(PLAIN, stages=(*PLAIN.stages, stage))) == []


def test_every_stage_is_either_run_or_refused() -> None:
    refused = {stage.type for stage in REFUSED}
    run = {kind.__dataclass_fields__["type"].default for kind in get_args(RunnableStage)}

    assert refused == STAGES.keys()
    assert refused | run == {kind.__dataclass_fields__["type"].default for kind in get_args(Stage)}
    assert not refused & run


def test_every_field_of_a_diffusion_is_either_honoured_or_refused() -> None:
    # Those that Diffusion.run reads, and what tells stages apart.
    honoured = {
        *("type", "width", "height", "prompt", "negative_prompt", "model", "sampler", "steps", "guidance_scale"),
        *(
            "clip_skip",
            "denoising_strength",
            "loras",
            "embeddings",
            "controls",
            "eta_noise_seed_delta",
            "schedule",
            "vae",
        ),
    }

    assert honoured | DIFFUSION_FIELDS.keys() == {field.name for field in fields(Diffusion)}


@pytest.mark.parametrize(
    "stage", [ImageToAdetailer(details=(Detail(),), diffusion=DRAWN), ImageToInpaint(mask="m", diffusion=DRAWN)]
)
def test_a_controlnet_of_its_own_does_not_guide_a_part(stage: Any) -> None:
    guided = replace(DRAWN, controls=(ControlNet(model="7", preprocessor=Preprocessor.NONE, image="a"),))
    alone = replace(PLAIN, stages=(PLAIN.stages[0], replace(stage, diffusion=guided)))
    after = replace(PLAIN, stages=(PLAIN.stages[0], guided, replace(stage, diffusion=guided)))

    assert [fault.path for fault in unsupported(alone)] == [f"stages[1].{stage.field_name}.diffusion.controlnet"]
    assert unsupported(after) == []
