"""The stage that looks at a picture with a network and draws nothing."""

from collections.abc import Mapping
from typing import Any, cast

import pytest
from PIL import Image

from jobs.engine import Engine, Picture
from jobs.preprocessors import Preprocessor
from jobs.stages.canvas import Canvas, Size, Tools
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.upscalers import Upscaler

STAGE = ControlnetDetect(preprocessor=Preprocessor.DEPTH, model="301", preprocessor_params={"resolution": 512})


class Looking:
    """Tells what it was asked for, and sees nothing but black."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def enlarge(self, picture: Image.Image, upscaler: str, **size: Any) -> Image.Image:
        self.asked.append((upscaler, size))
        return picture.resize((size["width"], size["height"]))

    def preprocess(
        self, picture: Picture, preprocessor: Preprocessor, parameters: Mapping[str, float], network: str
    ) -> Picture:
        self.asked.append(((picture.width, picture.height), preprocessor, parameters, network))
        return Image.new("RGB", (picture.width, picture.height))


def run(size: Size) -> tuple[Canvas, list[tuple[Any, ...]]]:
    engine = Looking()
    tools = Tools(engine=cast(Engine, engine), watch=cast(Any, None), pictures={})
    white = Image.new("RGB", size, "white")
    return STAGE.run(Canvas(seeds=(0,), pictures=(white,)), tools), engine.asked


def test_it_asks_the_engine_for_what_the_network_sees() -> None:
    canvas, asked = run((640, 480))

    assert asked == [((640, 480), Preprocessor.DEPTH, {"resolution": 512}, "301")]
    assert canvas.size == canvas.picture_size == (640, 480)
    assert cast(Image.Image, canvas.pictures[0]).getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("size", "seen"), [((4096, 64), (2048, 32)), ((8192, 1), (2048, 1)), ((3000, 3000), (2048,) * 2)]
)
def test_a_picture_larger_than_any_drawing_is_reduced_first(size: Size, seen: Size) -> None:
    canvas, asked = run(size)

    assert asked[0] == (Upscaler.LANCZOS, {"width": seen[0], "height": seen[1], "keeps_ratio": False})
    assert asked[1][0] == canvas.size == STAGE.size_after(None, size) == seen


def test_it_needs_the_network_and_a_worker_that_runs_it() -> None:
    assert STAGE.models == ("301",) and STAGE.inputs == () and STAGE.work == 1
    assert STAGE.size_after(None) is None
