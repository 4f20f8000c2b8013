"""The judge marks drawings right, or its marks for the model's pictures mean nothing."""

import random

import numpy as np
import pytest

from training.drawing import draw
from training.judge import FIELDS, look
from training.scenes import PATTERNS, SHAPES, Scene, held_out_scene


@pytest.mark.parametrize(("width", "height"), [(256, 256), (512, 512), (512, 320)])
def test_drawings_are_read_as_what_they_show(width: int, height: int) -> None:
    rng = random.Random(6)
    scenes = [held_out_scene(rng) for _ in range(60)]

    marks = [look(draw(scene, rng, width, height)).right(scene) for scene in scenes]

    for field in FIELDS:
        assert np.mean([mark[field] for mark in marks]) >= 0.95, field


@pytest.mark.parametrize("shape", range(len(SHAPES)))
def test_every_shape_is_told_from_all_others(shape: int) -> None:
    scene = Scene(background=7, shape=shape, colour=2, size=1)

    assert look(draw(scene, random.Random(shape), 256, 256)).shape == shape


def test_an_empty_picture_holds_no_figure() -> None:
    seen = look(np.full((128, 128, 3), (220, 40, 40), np.uint8))

    assert (seen.background, seen.shape, seen.place) == (0, -1, -1)


def test_a_wrong_colour_is_seen() -> None:
    scene = Scene(background=7, shape=0, colour=0, size=1)
    other = Scene(background=7, shape=0, colour=2, size=1)

    assert look(draw(scene, random.Random(1), 128, 128)).right(other) == {
        "background": True, "colour": False, "shape": True, "size": True, "place": True,
    }  # fmt: skip


@pytest.mark.parametrize("pattern", range(1, len(PATTERNS)))
def test_a_patterned_ground_has_two_tones_of_one_colour(pattern: int) -> None:
    picture = draw(Scene(background=2, pattern=pattern, shape=0, colour=0, size=0), random.Random(1), 128, 128)
    ground = np.concatenate([picture[:16].reshape(-1, 3), picture[:, :16].reshape(-1, 3)])

    assert ground.std(0).max() > 5
    assert (ground.argmax(1) == 2).all()
