"""docs/tams-fields.md says what the code does."""

import re
from pathlib import Path

import pytest

from jobs.capabilities import DIFFUSION_FIELDS, STAGES
from jobs.dialects.protobuf_json import Message, Real, Whole
from jobs.dialects.tams.attachments import (
    AnimationArgBody,
    ControlNetArgBody,
    EmbeddingItemBody,
    LayerDiffusionBody,
    LoraItemBody,
)
from jobs.dialects.tams.diffusion import DiffusionBody
from jobs.dialects.tams.image_to_adetailer import AdetailerArgBody, ImageToAdetailerBody
from jobs.dialects.tams.image_to_animate_diff import ImageToAnimateDiffBody
from jobs.dialects.tams.image_to_inpaint import ImageToInpaintBody
from jobs.dialects.tams.image_to_upscaler import ImageToUpscalerBody
from jobs.dialects.tams.input_initialize import InputInitializeBody
from jobs.dialects.tams.prompts import PromptBody
from jobs.dialects.tams.video_diffusion import KeyframesArgBody, VideoControlArgBody, VideoDiffusionBody
from jobs.dialects.tams_request import OWN_FIELDS, JobBody, StageBody
from tests.jobs.dialects.messages import places, spellings

TEXT = (Path(__file__).parents[3] / "docs" / "tams-fields.md").read_text()
SECTIONS: dict[str, type[Message]] = {
    "job": JobBody,
    "stages[]": StageBody,
    "inputInitialize": InputInitializeBody,
    "diffusion": DiffusionBody,
    "prompts[]": PromptBody,
    "lora.items[]": LoraItemBody,
    "embedding.items[]": EmbeddingItemBody,
    "controlnet.args[]": ControlNetArgBody,
    "animateDiff.args[]": AnimationArgBody,
    "layerDiffusion": LayerDiffusionBody,
    "imageToUpscaler": ImageToUpscalerBody,
    "imageToAdetailer": ImageToAdetailerBody,
    "imageToAdetailer.args[]": AdetailerArgBody,
    "imageToInpaint": ImageToInpaintBody,
    "imageToAnimateDiff": ImageToAnimateDiffBody,
    "videoDiffusion": VideoDiffusionBody,
    "videoDiffusion.controlnet.args[]": VideoControlArgBody,
    "videoDiffusion.inp.args[]": KeyframesArgBody,
}


def rows(heading: str) -> dict[str, list[str]]:
    """The cells of a section's first table, by the name in its first column."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0] + "\n"
    (table, *_) = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    return {name.strip("`"): rest for name, *rest in cells[2:]}


def test_every_message_has_a_section() -> None:
    # Those that only wrap a list are told where they are used.
    messages = {kind for _, kind, _ in places() if set(kind.model_fields) not in ({"items"}, {"args"})}

    assert messages == set(SECTIONS.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_has_every_field_of_the_message_in_its_order(section: str) -> None:
    fields = SECTIONS[section].model_fields.items()

    assert list(rows(f"`{section}`")) == [spellings(name, field)[0] for name, field in fields]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_tells_the_ranges(section: str) -> None:
    shown = rows(f"`{section}`")
    for name, field in SECTIONS[section].model_fields.items():
        accepted = shown[spellings(name, field)[0]][0]
        for each in field.metadata:
            match each:
                case Whole(low, high, step):
                    assert f"{low} to {high}" in accepted, name
                    assert step == 1 or f"a multiple of {step}" in accepted, name
                case Real(low, high, above):
                    assert accepted.startswith(f"{'over ' if above else ''}{low:g} to {high:g}"), name


@pytest.mark.parametrize("section", SECTIONS)
def test_the_table_tells_what_is_required(section: str) -> None:
    told = {name for name, cells in rows(f"`{section}`").items() if re.fullmatch("required(;.*)?", cells[1])}

    assert told == set(SECTIONS[section].model_json_schema().get("required", []))


def test_the_table_tells_what_is_refused_and_why() -> None:
    refused = {each.name: f"refused: {each.reason}" for each in DIFFUSION_FIELDS.values()}
    status = {name: cells[-1] for name, cells in rows("`diffusion`").items()}

    assert status == {name: refused.get(name, "honoured") for name in status}
    assert refused.keys() <= status.keys()


def test_the_first_table_tells_which_stages_run() -> None:
    refused = {kind: f"refused: {reason}" for kind, reason in STAGES.items()}

    assert {name: cells[0] for name, cells in rows("Stages").items()} == {
        name: refused.get(name, "honoured") for name in OWN_FIELDS
    }
