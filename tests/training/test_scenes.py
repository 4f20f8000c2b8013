"""What is trained on, what is kept for evaluations, and the words for both."""

import random

import pytest

from training.captions import caption, full_caption
from training.scenes import COLOURS, SHAPES, held_out, held_out_scene, random_scene


def test_training_never_sees_a_held_out_combination_and_evaluations_see_nothing_else() -> None:
    rng = random.Random(1)

    assert not any(held_out(random_scene(rng)) for _ in range(2000))
    assert all(held_out(held_out_scene(rng)) for _ in range(200))


def test_held_out_combinations_hold_every_shape_and_colour() -> None:
    rng = random.Random(2)
    scenes = [held_out_scene(rng) for _ in range(2000)]

    assert {scene.shape for scene in scenes} == set(range(len(SHAPES)))
    assert {scene.colour for scene in scenes} == {scene.background for scene in scenes} == set(range(len(COLOURS)))


def test_the_same_seed_gives_the_same_scenes_and_captions() -> None:
    first, second = random.Random(3), random.Random(3)

    for _ in range(50):
        scene = random_scene(first)
        assert scene == random_scene(second)
        assert caption(scene, first) == caption(scene, second)


@pytest.mark.parametrize("as_tags", [True, False])
def test_a_full_caption_names_every_attribute(as_tags: bool) -> None:
    scene = next(each for each in iter(lambda: held_out_scene(random.Random(4)), None))

    words = full_caption(scene, as_tags=as_tags)

    assert SHAPES[scene.shape] in words
    assert list(COLOURS)[scene.colour] in words
    assert f"{list(COLOURS)[scene.background]} background" in words


def test_what_a_caption_states_is_in_its_words() -> None:
    rng = random.Random(5)
    for _ in range(500):
        scene = random_scene(rng, simple=True)
        told = caption(scene, rng)
        colour = list(COLOURS)[scene.colour]
        if "colour" in told.stated:
            assert colour in told.text or (colour == "gray" and "grey" in told.text)
