"""The model that comes along draws what the words say: meaning, judged by geometry."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from config.catalog import read_catalog
from config.settings import ModelSettings
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.prompt import Piece
from tests.gpu_worker.engine.conftest import Seen
from training.judge import look
from training.scenes import COLOURS, PLACES, SHAPES

SIDE = 512


@pytest.fixture(scope="module")
def bundled() -> Any:
    settings = ModelSettings()
    engine = DiffusersEngine(read_catalog(settings.catalog_file, settings.models_folder), CPU, max_cached_bytes=2**30)
    return engine, engine.load(engine._catalog.default.id)


def draw(
    bundled: Any,
    prompt: str,
    *,
    negative: str = "",
    seed: int = 1,
    guidance: float = 7.0,
    start: Image.Image | None = None,
    strength: float = 1.0,
    size: tuple[int, int] = (SIDE, SIDE),
) -> NDArray[np.uint8]:
    engine, checkpoint = bundled
    width, height = size
    conditioning = engine.encode_prompt(
        checkpoint, prompt=(Piece(prompt),), negative=(Piece(negative),) if negative else (), clip_skip=1
    )
    latents = engine.sample(
        checkpoint,
        conditioning,
        width=width,
        height=height,
        seeds=[seed],
        sampler="DPM++ 2M Karras",
        steps=20,
        guidance_scale=guidance,
        watch=Seen(),
        start=None if start is None else engine.encode_pictures(checkpoint, [start], width=width, height=height),
        strength=strength,
    )
    return np.asarray(engine.decode(checkpoint, latents)[0])


@pytest.mark.parametrize(
    ("prompt", "colour", "shape", "place", "background"),
    [
        ("a red circle on a blue background", "red", "circle", "center", "blue"),
        ("large yellow star, top left, purple background", "yellow", "star", "top left", "purple"),
        ("masterpiece, best quality, large red house, white background, zyxw", "red", "house", "center", "white"),
        ("a big blue heart in the bottom on a pink background", "blue", "heart", "bottom", "pink"),
    ],
)
def test_colour_shape_place_and_background_are_those_of_the_prompt(
    bundled: Any, prompt: str, colour: str, shape: str, place: str, background: str
) -> None:
    seen = look(draw(bundled, prompt))

    names = list(COLOURS)
    assert (names[seen.colour], SHAPES[seen.shape], PLACES[seen.place], names[seen.background]) == (
        colour,
        shape,
        place,
        background,
    )


@pytest.mark.parametrize("size", [(768, 512), (512, 768), (1024, 1024)])
def test_other_sizes_hold_one_figure_of_the_right_colours(bundled: Any, size: tuple[int, int]) -> None:
    seen = look(draw(bundled, "a large red square in the center on a white background", size=size))

    assert (list(COLOURS)[seen.colour], list(COLOURS)[seen.background]) == ("red", "white")


def test_the_negative_prompt_removes_a_colour(bundled: Any) -> None:
    prompt = "a large square in the center on a white background"
    colour = list(COLOURS)[look(draw(bundled, prompt, seed=3)).colour]

    avoided = look(draw(bundled, prompt, negative=f"{colour}, {colour} square", seed=3))

    assert list(COLOURS)[avoided.colour] != colour


def test_a_weak_img2img_keeps_the_layout_and_a_strong_one_follows_the_prompt(bundled: Any) -> None:
    start = Image.fromarray(draw(bundled, "a large red circle on the left on a white background"))
    prompt = "a large red circle on the right on a white background"

    weak = look(draw(bundled, prompt, start=start, strength=0.3))
    strong = look(draw(bundled, prompt, start=start, strength=0.9))

    assert (PLACES[weak.place], PLACES[strong.place]) == ("left", "right")


@pytest.mark.parametrize("prompt", ["", ", ,", "qwrtp zzkx 東京 🎨"])
def test_words_that_mean_nothing_still_give_a_scene(bundled: Any, prompt: str) -> None:
    """Not noise: most of a scene is its ground, of nearly one colour."""
    picture = draw(bundled, prompt).astype(int)

    ground = np.median(picture.reshape(-1, 3), axis=0)
    assert (np.abs(picture - ground).max(2) < 40).mean() > 0.3
