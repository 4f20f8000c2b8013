"""Lessons keep pictures, words and edges together, and are made once."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch

from jobs.canny import edges
from training.drawing import draw
from training.latents import Encoders
from training.lessons import Example, Lessons, make_lessons
from training.scenes import Scene

MODEL = Path("models/darkroom-shapes")


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    return Encoders(MODEL / "tokenizer", MODEL / "text_encoder", MODEL / "vae")


def one_of_two(rng: random.Random, side: int) -> Example:
    shape = rng.randrange(2)
    picture = draw(Scene(background=7, shape=shape, colour=0, size=1), random.Random(1), side, side)
    return Example(picture, "circle" if shape == 0 else "square", edges(picture))


def test_a_batch_holds_the_edges_and_words_of_its_latents(tmp_path: Path, encoders: Encoders) -> None:
    make_lessons(tmp_path / "lessons.pt", encoders, one_of_two, {64: 16})

    lesson = Lessons(tmp_path / "lessons.pt").batch(16 * 16)

    assert lesson.edges is not None
    assert (lesson.latents.shape, lesson.edges.shape) == ((16, 8, 4, 4), (16, 3, 64, 64))
    for text in ("circle", "square"):
        same = [i for i, each in enumerate(lesson.texts) if each == text]
        assert all(torch.equal(lesson.edges[i], lesson.edges[same[0]]) for i in same)
        assert all(torch.allclose(lesson.latents[i], lesson.latents[same[0]], atol=0.01) for i in same)
    one, other = lesson.texts.index("circle"), lesson.texts.index("square")
    assert not torch.equal(lesson.edges[one], lesson.edges[other])
    assert set(lesson.edges.unique().tolist()) == {0.0, 1.0}


def test_batches_are_of_one_size_and_as_many_positions_as_asked(tmp_path: Path, encoders: Encoders) -> None:
    make_lessons(tmp_path / "lessons.pt", encoders, one_of_two, {64: 8, 128: 8})
    lessons = Lessons(tmp_path / "lessons.pt")

    shapes = {tuple(lessons.batch(256).latents.shape) for _ in range(30)}

    assert shapes == {(16, 8, 4, 4), (4, 8, 8, 8)}


def test_what_is_there_is_not_made_again(tmp_path: Path, encoders: Encoders) -> None:
    make_lessons(tmp_path / "lessons.pt", encoders, one_of_two, {64: 8})
    before = (tmp_path / "lessons.pt").stat().st_mtime_ns

    make_lessons(tmp_path / "lessons.pt", encoders, one_of_two, {64: 16})

    assert (tmp_path / "lessons.pt").stat().st_mtime_ns == before


def test_lessons_without_edges_have_none(tmp_path: Path, encoders: Encoders) -> None:
    make_lessons(
        tmp_path / "lessons.pt", encoders, lambda _, side: Example(np.zeros((side, side, 3), np.uint8), "x"), {64: 8}
    )

    assert Lessons(tmp_path / "lessons.pt").batch(64).edges is None
