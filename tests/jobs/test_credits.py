"""The published formulas, by the published examples. Source: TAMS, "Intro To Billing"."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from jobs.catalog import Catalog
from jobs.credits import OTHER, Draw, Item, Rates, Rework, Start, Upscale, Video, price, price_of
from jobs.preprocessors import Preprocessor
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.input_initialize import InputInitialize
from tests.jobs.dialects.parsing import parse_submission
from tests.jobs.samples import body

RATES = Rates()
DRAW = Draw(family="SDXL", width=512, height=512, steps=20)  # 0.8
LARGE = (1920, 1080)  # CEIL(1.98 × 2) / 2 = 2


def credits(*items: Item, count: int = 1, rates: Rates = RATES) -> Decimal:
    return price_of([Start(count=count), *items], rates)


def upscale(steps: int, width: int, height: int, family: str | None = None) -> Upscale:
    return Upscale(width=width, height=height, steps=steps, family=family)


def rework(steps: int, width: int = 512, height: int = 512, **fields: Any) -> Rework:
    return Rework(width=width, height=height, steps=steps, **fields)


def video(model: str, frames: int, **fields: Any) -> Video:
    return Video(**({"model": model, "frames": frames, "width": 1280, "height": 768} | fields))


@pytest.mark.parametrize(
    ("steps", "published"),
    [(2, "0.2"), (8, "0.4"), (20, "0.8"), (25, "1"), (30, "1.2"), (35, "1.4"), (40, "1.6"), (50, "2"), (60, "2.4")],
)
def test_diffusion_costs_what_the_first_table_says(steps: int, published: str) -> None:
    assert credits(replace(DRAW, steps=steps)) == Decimal(published)


@pytest.mark.parametrize(
    ("steps", "width", "height", "published"),
    [
        (30, 1280, 768, "2"),
        (30, 1920, 1080, "3.2"),
        (60, 1280, 768, "3.2"),
        (60, 1920, 1080, "5.6"),
        (60, 2560, 1440, "10.4"),
        # 0.8 + 1.2 × CEIL(7.03) / 2 = 5.6. The page says 5, against its own formula, which the row above follows.
        (30, 2560, 1440, "5.6"),
    ],
)
def test_the_second_table_is_of_jobs_that_draw_20_steps_first(
    steps: int, width: int, height: int, published: str
) -> None:
    assert credits(DRAW, upscale(steps, width, height)) == Decimal(published)


def test_the_job_of_four_stages() -> None:
    stages: list[Item] = [DRAW, upscale(30, *LARGE), rework(20)]

    # 0.8, 1.2 × 2 = 2.4, and 0.8 × 2 = 1.6: the size of the upscaler, the steps of the diffusion.
    assert [credits(*stages[:n]) for n in (1, 2, 3)] == [Decimal("0.8"), Decimal("3.2"), Decimal("4.8")]


def test_each_picture_of_a_job_costs_the_same() -> None:
    assert credits(DRAW, upscale(30, *LARGE), rework(20), count=4) == 4 * Decimal("4.8")


def test_each_argument_of_adetailer_costs() -> None:
    # 0.8 + 3 × 0.8 × CEIL(0.25 × 2) / 2 = 0.8 + 3 × 0.4
    assert credits(DRAW, rework(20), rework(20), rework(20)) == Decimal("2.0")


def test_reworking_inherits_the_steps_of_diffusion_unless_it_keeps_its_own() -> None:
    # 20 of 60 steps: 0.8 × 1/2, or 2.4 × 1/2
    assert credits(DRAW, rework(60)) == Decimal("1.2")
    assert credits(DRAW, rework(60, keeps_steps=True)) == Decimal("2.0")


def test_without_diffusion_reworking_has_its_own_steps_even_after_an_upscaler() -> None:
    # 1.2 × 2 + 2.4 × 2
    assert credits(upscale(30, *LARGE), rework(60)) == Decimal("7.2")


def test_the_first_stage_that_makes_a_picture_has_its_own_size_and_hands_it_on() -> None:
    first = credits(rework(20, *LARGE))

    assert first == Decimal("1.6")  # 0.8 × 2
    assert credits(rework(20, *LARGE), rework(20)) == 2 * first


@pytest.mark.parametrize(
    ("items", "flux", "others"),
    [
        ([DRAW], "1.6", "0.8"),
        # 2 × 0.8 + 2 × 1.2 × CEIL(1.98 × 3) / 2 = 1.6 + 2.4 × 3
        ([DRAW, upscale(30, *LARGE)], "8.8", "3.2"),
        # Only an upscaler's area is tripled: 1.6 + 2 × 0.8 × CEIL(0.25 × 2) / 2
        ([DRAW, rework(20)], "2.4", "1.2"),
        # Its own model counts, not the one that drew: 0.8 + 2 × 1.2 × 3, and the other way 1.6 + 1.2 × 2
        ([DRAW, upscale(30, *LARGE, "FLUX")], "8.8", "8.0"),
        ([DRAW, upscale(30, *LARGE, "SD15")], "4.0", "3.2"),
        ([DRAW, rework(20, family="FLUX")], "2.4", "1.6"),
    ],
)
def test_flux_costs_double_and_its_upscaled_area_is_tripled(items: list[Any], flux: str, others: str) -> None:
    drawn_by = {family: [replace(DRAW, family=family), *items[1:]] for family in ("FLUX", "SD15", "SD2", "SDXL")}

    prices = {family: credits(*each) for family, each in drawn_by.items()}

    assert prices == {"FLUX": Decimal(flux), **dict.fromkeys(("SD15", "SD2", "SDXL"), Decimal(others))}


@pytest.mark.parametrize(
    ("item", "published"),
    [
        (video("HUNYUANVIDEO", 30), "17.44"),
        (video("HUNYUANVIDEO", 30, is_fast=True), "8.72"),
        (video("COGVIDEOX_2B", 24), "5.94"),
        # (30 + 1) × 0.42 × 1.25
        (video("HUNYUANVIDEO", 30, from_image=True), "16.28"),
        # (79 + 1) × coefficient × 1.25 = 100 × coefficient
        (video("COSMOS_1_7B", 79), "73"),
        (video("COSMOS_1_7B", 79, from_image=True), "100"),
        (video("WAN_2_1", 79, is_fast=True), "48.24"),
        (video("LTX_VIDEO_2B", 79, is_fast=True), "3"),
        (video("PYRAMID_FLOW_MINIFLUX", 79), "29"),
        (video("PYRAMID_FLOW_MINIFLUX", 79, width=640, height=384), "9"),
        (video("one of tomorrow", 79, is_fast=True), "100"),
    ],
)
def test_a_video_costs_by_its_frames_model_and_mode(item: Video, published: str) -> None:
    assert credits(item) == Decimal(published)


def test_the_published_list_of_video_coefficients() -> None:
    listed = {name: (str(rate.text_to_video), str(rate.image_to_video)) for name, rate in RATES.video_models.items()}

    assert listed == {
        "MOCHI_1_10B": ("0.45", "0.45"),
        "COGVIDEOX_2B": ("0.19", "0.19"),
        "COGVIDEOX_5B": ("0.23", "0.23"),
        "COGVIDEOX1_5_5B": ("0.93", "0.93"),
        "PYRAMID_FLOW_MINIFLUX 640x384": ("0.09", "0.09"),
        "PYRAMID_FLOW_MINIFLUX": ("0.29", "0.29"),
        "LTX_VIDEO_2B": ("0.05", "0.05"),
        "HUNYUANVIDEO": ("0.45", "0.42"),
        "HUNYUANVIDEO_FAST": ("0.30", "0.30"),
        "COSMOS_1_7B": ("0.73", "1.0"),
        "SKYREELS_V1": ("0.91", "0.91"),
        "WAN_2_1": ("0.72", "0.72"),
        OTHER: ("1.0", "1.0"),
    }


def test_a_submission_is_priced_by_its_stages_and_its_models_family(catalog: Catalog) -> None:
    asked = body(steps=21, sdModel="103")
    asked["stages"][0]["inputInitialize"]["count"] = 3
    stages = parse_submission(asked, catalog).stages

    assert price(stages, catalog, RATES) == Decimal("3.0")  # 3 × CEIL(4.2) / 5
    dear = Rates(models={"SDXL": Decimal("1.115"), OTHER: Decimal(1)})
    assert price(stages, catalog, dear) == Decimal("3.35")  # 3.345, half up


def test_a_detection_costs_nothing(catalog: Catalog) -> None:
    picture = InputInitialize(seed=0, image_resource_id="r", picture_size=(2048, 2048))
    look = ControlnetDetect(preprocessor=Preprocessor.DEPTH, model="301")

    assert price((picture, look), catalog, RATES) == 0
