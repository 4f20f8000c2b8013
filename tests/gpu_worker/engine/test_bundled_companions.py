"""What comes along with the bundled model, through the stages of a job: meaning, judged by geometry."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from config.catalog import read_catalog
from config.settings import ModelSettings
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.canny import edges
from jobs.catalog import Catalog, Kind
from jobs.stages.canvas import Canvas, Tools
from jobs.stages.diffusion import Diffusion
from tests.gpu_worker.engine.conftest import Seen
from tests.jobs.dialects.parsing import parse_submission
from tests.jobs.samples import body
from training import lora
from training.captions import COLOUR_NAMES
from training.drawing import draw
from training.evaluate import open_pipeline
from training.evaluate_companions import edge_questions
from training.guide import kept_edges
from training.judge import look
from training.night import is_night

NIGHT = {"items": [{"loraModel": "darkroom-shapes-night"}]}
HEART = "a large red heart in the center on a white background"


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    settings = ModelSettings()
    return read_catalog(settings.catalog_file, settings.models_folder)


@pytest.fixture(scope="module")
def engine(catalog: Catalog) -> DiffusersEngine:
    return DiffusersEngine(catalog, CPU, max_cached_bytes=2**30)


@pytest.fixture
def drawn(catalog: Catalog, engine: DiffusersEngine) -> Any:
    def drawn(prompt: str, shown: Image.Image | None = None, **fields: Any) -> NDArray[np.uint8]:
        submission = parse_submission(body(prompts=[{"text": prompt}], **fields), catalog)
        pictures: Any = {"shown": shown}
        canvas, tools = Canvas(), Tools(engine=engine, watch=Seen(), pictures=pictures)
        for stage in submission.stages:
            canvas = stage.run(canvas, tools)
        return np.asarray(canvas.pictures[0])

    return drawn


def test_the_lora_makes_night_of_its_word_and_its_weight_0_is_none(drawn: Any) -> None:
    asked = f"{HEART}, night"

    plain = drawn(asked)
    night = drawn(asked, lora=NIGHT)
    nothing = drawn(asked, lora={"items": [{"loraModel": "darkroom-shapes-night", "blockWeight": "0:lbw=ALL"}]})

    assert [is_night(each) for each in (plain, night)] == [False, True]
    assert np.array_equal(plain, nothing)


def test_the_lora_is_merged_as_by_diffusers_reading_of_its_names(catalog: Catalog, engine: DiffusersEngine) -> None:
    night = catalog.resolve(Kind.LORA, "darkroom-shapes-night")
    pipeline = open_pipeline(catalog.default.path)
    lora.apply(pipeline, night.path, 0.8)

    (stage,) = [
        each
        for each in parse_submission(body(lora={"items": [{"loraModel": night.id, "weight": 0.8}]}), catalog).stages
        if isinstance(each, Diffusion)
    ]
    checkpoint = engine.load(stage.model, stage.loras)

    pairs = ((checkpoint.denoiser, pipeline.unet), (checkpoint.text_encoders[0], pipeline.text_encoder))
    for ours, theirs in pairs:
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_the_learned_word_gives_its_colours_in_a_prompt_and_is_avoided_as_an_item(drawn: Any) -> None:
    prompt = "a small diamond on the left"

    plain, named = drawn(prompt), drawn(f"{prompt}, darkroom-dusk")
    avoided = drawn(f"{prompt}, orange", embedding={"items": [{"model": "darkroom-dusk"}]})

    def colours(picture: NDArray[np.uint8]) -> tuple[str, str]:
        seen = look(picture)
        return COLOUR_NAMES[seen.colour], COLOUR_NAMES[seen.background]

    assert colours(named) == ("orange", "purple")
    assert colours(plain) != colours(named)
    assert colours(avoided)[1] != "purple"


@pytest.mark.parametrize("which", [0, 2])
def test_the_controlnet_keeps_the_edges_of_a_picture_and_the_prompt_colours_them(drawn: Any, which: int) -> None:
    asked, _ = edge_questions(3)[which]
    picture = Image.fromarray(draw(asked.scene, random.Random(7), 512, 512))
    control = {"model": "darkroom-shapes-canny", "preprocessor": "canny", "inputImageResourceId": "shown"}

    held, free = (
        drawn(asked.prompt, picture, controlnet={"args": [control | {"weight": weight}]}, cfgScale=4)
        for weight in (1.0, 1e-9)
    )

    wanted = edges(np.asarray(picture))
    assert kept_edges(wanted, held) > 0.4
    assert kept_edges(wanted, held) > kept_edges(wanted, free) + 0.3
    assert look(held).colour == asked.scene.colour


@pytest.mark.parametrize(
    "kinds",
    [
        ["IMAGE_TO_UPSCALER: Latent"],
        ["DIFFUSION", "IMAGE_TO_UPSCALER: Lanczos"],
        ["IMAGE_TO_UPSCALER: Lanczos", "IMAGE_TO_INPAINT"],
    ],
)
def test_a_controlnet_without_a_picture_looks_at_the_initial_one_in_every_pass(
    catalog: Catalog, engine: DiffusersEngine, kinds: list[str]
) -> None:
    pictures: dict[str, Any] = {name: Image.new("RGB", (512, 512), "white") for name in ("shown", "mask")}
    seen: list[Any] = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(engine, name)

        def control(self, *given: Any, picture: Any, **wish: Any) -> Any:
            seen.append(picture)
            return engine.control(*given, picture=picture, **wish)

    tools: Any = Tools(engine=Spy(), watch=Seen(), pictures=pictures)  # type: ignore[arg-type]
    canvas = Canvas()
    for stage in parse_submission(guided(kinds), catalog).stages:
        canvas = stage.run(canvas, tools)

    assert [each is pictures["shown"] for each in seen] == [True] * len(kinds)


def guided(kinds: list[str]) -> dict[str, Any]:
    """A body of these stages, which draw with a ControlNet that names no picture, and as many pictures as it can."""
    control = {"model": "darkroom-shapes-canny", "preprocessor": "canny"}
    drawn = {"prompts": [{"text": HEART}], "steps": 1, "controlnet": {"args": [control]}}
    fields: dict[str, Any] = {
        "DIFFUSION": drawn,
        "IMAGE_TO_UPSCALER": {"hrScale": 1.0, "hrSecondPassSteps": 1, "denoisingStrength": 0.5, "diffusion": drawn},
        "IMAGE_TO_INPAINT": {"maskImageResourceId": "mask", "inpaintFullRes": False, "diffusion": drawn},
    }
    count = 2 if "DIFFUSION" in kinds else 1
    stages = [{"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": 1, "imageResourceId": "shown", "count": count}}]
    for kind, _, upscaler in (each.partition(": ") for each in kinds):
        name = kind.split("_")[0].lower() + "".join(part.title() for part in kind.split("_")[1:])
        stages.append({"type": kind, name: fields[kind] | ({"hrUpscaler": upscaler} if upscaler else {})})
    return {"requestId": "r", "stages": stages}
