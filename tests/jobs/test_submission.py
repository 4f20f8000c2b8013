from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from jobs.errors import Fault
from jobs.prompt import Piece
from jobs.stages import Stage
from jobs.stages.canvas import Canvas, Tools
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.input_initialize import MAX_SEED, InputInitialize
from jobs.stages.video_diffusion import VideoDiffusion
from jobs.submission import (
    input_faults,
    order_faults,
    picture_faults,
    picture_sizes,
    upscale_faults,
    with_picture_size,
    with_seeds,
)
from jobs.upscalers import Upscaler
from tests.jobs.samples import submission

INIT, DIFFUSION = "INPUT_INITIALIZE", "DIFFUSION"
FIRST = Fault("stages[0].type", "the first stage must be INPUT_INITIALIZE")
NOTHING_DRAWN = Fault("stages", "a job needs a stage that makes pictures, such as DIFFUSION")
UPSCALE, ANIMATE, VIDEO = "IMAGE_TO_UPSCALER", "IMAGE_TO_ANIMATE_DIFF", "VIDEO_DIFFUSION"
DRAWN = Diffusion(width=512, height=512, prompt=(Piece("a barn"),), model="101", sampler="Euler")
NO_TOOLS = Tools(engine=cast(Any, None), watch=cast(Any, None), pictures={"a": cast(Any, Path("a picture"))})


@pytest.mark.parametrize(
    ("types", "faults"),
    [
        ([INIT, DIFFUSION], []),
        ([INIT, DIFFUSION, UPSCALE, "IMAGE_TO_ADETAILER", UPSCALE], []),
        ([INIT, "IMAGE_TO_INPAINT"], []),
        ([INIT, UPSCALE, ANIMATE], []),
        ([INIT, VIDEO], []),
        ([INIT, ""], []),  # its type is a fault of its own
        ([DIFFUSION, INIT], [FIRST]),
        ([DIFFUSION], [FIRST]),
        ([UPSCALE], [FIRST]),
        ([INIT], [NOTHING_DRAWN]),
        ([INIT, INIT, DIFFUSION], [Fault("stages[1].type", f"a job has one {INIT} stage")]),
        (
            [INIT, DIFFUSION, DIFFUSION, DIFFUSION],
            [Fault(f"stages[{i}].type", f"a job has one {DIFFUSION} stage") for i in (2, 3)],
        ),
        (
            [INIT, UPSCALE, DIFFUSION],
            [Fault("stages[2].type", "DIFFUSION comes before the stages that change its pictures")],
        ),
        ([INIT, VIDEO, UPSCALE], [Fault("stages[2].type", f"no stage can follow {VIDEO}, which makes a video")]),
        ([INIT, ANIMATE, ""], [Fault("stages[2].type", f"no stage can follow {ANIMATE}, which makes a video")]),
    ],
)
def test_the_order_of_stages_is_input_then_diffusion_then_what_changes_pictures(
    types: list[str], faults: list[Fault]
) -> None:
    assert order_faults(types) == faults


def upscaler(upscaler: Upscaler = Upscaler.LANCZOS, **fields: Any) -> ImageToUpscaler:
    shown: dict[str, Any] = {"steps": 10, "denoising_strength": 0.3, "diffusion": DRAWN, "scale": 2.0}
    return ImageToUpscaler(upscaler=upscaler, **(shown | fields))


def test_without_diffusion_one_named_picture_is_worked_on() -> None:
    lone = (InputInitialize(count=2), upscaler())

    assert [fault.path for fault in input_faults(lone)] == [
        "stages[0].inputInitialize.count",
        "stages[0].inputInitialize.imageResourceId",
    ]
    assert input_faults((InputInitialize(count=1, image_resource_id="a"), upscaler())) == []
    assert input_faults((InputInitialize(count=2), DRAWN, upscaler())) == []


def test_a_video_may_come_from_text_alone() -> None:
    video = VideoDiffusion(model="m", prompt=())

    assert input_faults((InputInitialize(), video)) == []
    assert [fault.path for fault in input_faults((InputInitialize(count=2), video))] == [
        "stages[0].inputInitialize.count"
    ]


@pytest.mark.parametrize(
    ("fields", "paths"),
    [
        ({"scale": 1.0}, []),  # 512 × 512 = 262,144: the least
        ({"scale": 0.98}, ["stages[2].imageToUpscaler.hrScale"]),  # 504 × 504 = 254,016
        ({"scale": 5.625}, []),  # 2880 × 2880 = 8,294,400: the most
        ({"scale": 5.64}, ["stages[2].imageToUpscaler.hrScale"]),  # 2888 × 2888 = 8,340,544
        ({"scale": None, "width": 5120, "height": 1600}, []),  # 8,192,000
        ({"scale": None, "width": 5120, "height": 1664}, ["stages[2].imageToUpscaler"]),  # 8,519,680
        ({"scale": None, "width": 128, "height": 2048}, []),  # 262,144
        ({"scale": None, "width": 128, "height": 1984}, ["stages[2].imageToUpscaler"]),  # 253,952
    ],
)
def test_upscaled_pictures_keep_to_the_published_budget(fields: dict[str, Any], paths: list[str]) -> None:
    stages = (InputInitialize(), DRAWN, upscaler(**fields))

    assert [fault.path for fault in upscale_faults(stages)] == paths


def test_a_second_upscaler_begins_with_the_size_that_the_first_made() -> None:
    doubled = (InputInitialize(), DRAWN, upscaler(scale=2.0), upscaler(scale=3.0))  # 512 → 1024 → 3072

    assert [fault.path for fault in upscale_faults(doubled)] == ["stages[3].imageToUpscaler.hrScale"]
    assert picture_sizes(doubled) == [None, (512, 512), (1024, 1024), (3072, 3072)]


def test_without_diffusion_the_size_is_that_of_the_stages_own_block() -> None:
    own = replace(DRAWN, width=768, height=512)
    inpaint = ImageToInpaint(mask="m", full_resolution=False, diffusion=own)

    assert picture_sizes((InputInitialize(), inpaint, upscaler(scale=1.5))) == [None, (768, 512), (1152, 768)]


PICTURE = InputInitialize(image_resource_id="a")
LARGE = replace(PICTURE, picture_size=(1024, 768))
PARTS = ImageToInpaint(mask="m", diffusion=DRAWN)


@pytest.mark.parametrize("parts", [PARTS, ImageToAdetailer(details=(Detail(),), diffusion=DRAWN)])
def test_an_uploaded_picture_of_which_parts_are_drawn_keeps_its_size(parts: Stage) -> None:
    assert picture_sizes((LARGE, parts, upscaler())) == [None, (1024, 768), (2048, 1536)]
    assert upscale_faults((LARGE, parts, upscaler(scale=0.5))) != []
    # 512 × 384; and before the resource was looked up nothing can be said.
    assert upscale_faults((PICTURE, parts, upscaler(scale=0.5))) == []


def test_the_size_of_the_initial_picture_is_found_by_its_name() -> None:
    assert with_picture_size((PICTURE, PARTS), {"a": (1024, 768), "m": (8, 8)}) == (LARGE, PARTS)
    assert with_picture_size((PICTURE, PARTS), {}) == (PICTURE, PARTS)


@pytest.mark.parametrize(
    ("sizes", "paths"),
    [
        ({"a": (8000, 5000), "m": (8000, 5000), "c": (8000, 5000)}, []),  # 120,000,000: the most
        ({"a": (8000, 5000), "m": (8000, 5000), "c": (8000, 5001)}, ["of c"]),
    ],
)
def test_the_input_pictures_of_a_job_have_a_bound_together(sizes: dict[str, Any], paths: list[str]) -> None:
    stages = with_picture_size((PICTURE, PARTS), sizes)

    faults = picture_faults(stages, sizes, {name: f"of {name}" for name in sizes})

    assert [fault.path for fault in faults] == paths


@pytest.mark.parametrize(
    ("whole", "paths"),
    [
        (replace(PARTS, full_resolution=False), ["stages[2].imageToInpaint"]),
        (ImageToAdetailer(details=(Detail(only_masked=False),), diffusion=DRAWN), ["stages[2].imageToAdetailer"]),
        (ImageToAdetailer(details=(Detail(only_masked=False, width=512),), diffusion=DRAWN), []),
        (PARTS, []),
    ],
)
def test_a_picture_too_large_to_draw_is_drawn_in_parts_only(whole: Stage, paths: list[str]) -> None:
    sizes = {"a": (4000, 3000), "m": (4000, 3000)}
    stages = with_picture_size((PICTURE, PARTS, whole), sizes)

    assert [fault.path for fault in picture_faults(stages, sizes, {})] == paths


LATENT = upscaler(Upscaler.LATENT)


@pytest.mark.parametrize(
    ("stages", "paths"),
    [
        ((InputInitialize(), DRAWN, LATENT), []),
        ((PICTURE, LATENT), []),  # as the published guide has it
        ((PICTURE, DRAWN, LATENT), ["stages[2].imageToUpscaler.hrUpscaler"]),
        ((InputInitialize(), DRAWN, upscaler(), LATENT), ["stages[3].imageToUpscaler.hrUpscaler"]),
        ((PICTURE, DRAWN, upscaler()), []),
    ],
)
def test_latents_are_upscaled_only_right_after_they_were_drawn_from_text(
    stages: tuple[Stage, ...], paths: list[str]
) -> None:
    assert [fault.path for fault in upscale_faults(stages)] == paths


def test_an_open_seed_is_drawn_once_and_then_stays() -> None:
    opened = replace(submission(), stages=(InputInitialize(seed=None), *submission().stages[1:]))
    drawn = iter([11, 12])

    accepted = with_seeds(opened, lambda: next(drawn))

    assert accepted.stages[0] == InputInitialize(seed=11)
    assert with_seeds(accepted, lambda: next(drawn)) == accepted


def test_a_given_seed_is_kept() -> None:
    assert with_seeds(submission(), lambda: 99) == submission()


@pytest.mark.parametrize(
    ("seed", "count", "seeds"),
    [
        (7, 3, (7, 8, 9)),
        (MAX_SEED, 2, (MAX_SEED, 0)),  # 2**32 - 1 + 1 = 0 modulo 2**32
        (MAX_SEED - 1, 4, (MAX_SEED - 1, MAX_SEED, 0, 1)),
    ],
)
def test_each_output_has_the_next_seed(seed: int, count: int, seeds: tuple[int, ...]) -> None:
    assert InputInitialize(seed=seed, count=count).run(Canvas(), NO_TOOLS).seeds == seeds


def test_a_stage_without_a_drawn_seed_does_not_run() -> None:
    with pytest.raises(ValueError, match="drawn when a job is accepted"):
        InputInitialize().run(Canvas(), NO_TOOLS)


def test_the_initial_picture_is_what_it_reads_and_puts_on_the_canvas() -> None:
    stage = InputInitialize(seed=1, image_resource_id="a")

    assert stage.inputs == ("a",)
    assert stage.run(Canvas(), NO_TOOLS).pictures == (NO_TOOLS.pictures["a"],)
