"""The style of the LoRA, and that its judge tells it from day."""

import random

import numpy as np

from training.drawing import draw
from training.night import draw_night, is_night
from training.scenes import COLOURS, Scene, random_scene


def test_night_is_told_from_day_whatever_is_drawn() -> None:
    rng = random.Random(1)
    scenes = [random_scene(rng) for _ in range(40)]

    assert all(is_night(draw_night(scene, rng, 256)) for scene in scenes)
    assert not any(is_night(draw(scene, rng, 256, 256)) for scene in scenes)


def test_a_black_ground_alone_is_not_night() -> None:
    black, red = list(COLOURS).index("black"), list(COLOURS).index("red")

    assert not is_night(draw(Scene(background=black, shape=0, colour=red, size=1), random.Random(1), 256, 256))
    assert not is_night(np.full((128, 128, 3), 20, np.uint8))


def test_figures_keep_their_colours() -> None:
    red = list(COLOURS).index("red")
    scene = Scene(background=7, shape=0, colour=red, size=1)

    middle = draw_night(scene, random.Random(1), 256)[128, 128]

    assert np.abs(middle.astype(int) - list(COLOURS.values())[red]).max() <= 6
