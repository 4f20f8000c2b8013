"""What is found in pictures, and what becomes of its masks."""

import random
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data

from config.catalog import read_catalog
from config.settings import ModelSettings
from gpu_worker.engine import detectors
from gpu_worker.engine.detectors import bundled_masks, shaped, yolo_masks
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.faces import find_faces, overlap
from jobs.catalog import Family, Kind, Model
from jobs.detectors import Look
from jobs.errors import FatalFailure
from jobs.prompt import Piece
from jobs.stages.canvas import Canvas, Tools
from jobs.stages.diffusion import Diffusion
from tests.gpu_worker.engine.conftest import Seen
from training.drawing import draw as draw_scene
from training.scenes import SHAPES, random_scene

FACE_SHAPE = SHAPES.index("face")
# Where the face of scikit-image's astronaut is, by eye.
FACE = (175, 70, 275, 185)


@pytest.mark.parametrize("scale", [0.5, 1, 2, 4])
def test_a_face_in_a_photograph_is_found_in_every_size(scale: float) -> None:
    size = round(512 * scale)
    picture = Image.fromarray(data.astronaut()).resize((size, size))

    (box, confidence), *others = find_faces(picture)

    assert overlap(box, tuple(scale * each for each in FACE)) > 0.5  # type: ignore[arg-type]
    # What the published guide asks for.
    assert confidence > 0.7
    assert all(sure < 0.3 for _, sure in others)


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "coins", "brick", "grass", "page", "moon", "text"])
def test_a_photograph_without_a_human_face_has_none(name: str) -> None:
    picture = Image.fromarray(np.asarray(getattr(data, name)())).convert("RGB")

    assert not bundled_masks(picture, 0.3)


def test_of_small_portraits_most_are_found_and_of_other_patches_hardly_any() -> None:
    patches = data.lfw_subset()

    found = [bool(bundled_masks(_framed(patch), 0.3)) for patch in patches]

    # 100 faces, then 100 that are none. The cascade finds 86 of them in as many windows as 0.3 asks for.
    assert sum(found[:100]) >= 80
    assert sum(found[100:]) <= 2


def _framed(patch: Any) -> Image.Image:
    picture = Image.new("RGB", (256, 256), "gray")
    picture.paste(Image.fromarray(np.uint8(255 * patch)).resize((128, 128), Image.Resampling.BICUBIC), (64, 64))
    return picture


@pytest.mark.parametrize("size", [(1, 1), (20, 600), (31, 31), (1, 700)])
def test_pictures_too_small_for_a_face_have_none(size: tuple[int, int]) -> None:
    assert find_faces(Image.new("RGB", size, "red")) == []


@pytest.mark.parametrize("size", [256, 1024])
def test_drawn_faces_are_found_where_they_are(size: int) -> None:
    rng, found, others = random.Random(4), 0, 0
    for _ in range(12):
        scene = random_scene(rng, simple=True)
        scenes = [replace(scene, shape=FACE_SHAPE), replace(scene, shape=rng.randrange(FACE_SHAPE))]
        face, other = (Image.fromarray(draw_scene(each, rng, size, size)) for each in scenes)
        boxes = [box for box, sure in find_faces(face) if sure >= 0.3]
        found += len(boxes) == 1 and all(0.1 < (box[2] - box[0]) / size < 0.7 for box in boxes)
        others += len(bundled_masks(other, 0.3))

    assert found == 12
    assert others == 0


def test_faces_that_the_bundled_model_draws_are_found_and_other_figures_are_not() -> None:
    settings = ModelSettings()
    engine = DiffusersEngine(read_catalog(settings.catalog_file, settings.models_folder), CPU, max_cached_bytes=2**30)
    tools = Tools(engine=engine, watch=Seen(), pictures={})
    prompts = [
        "a large yellow smiling face on a blue background",
        "a green face on a black background",
        "a small red face on the left",
    ]
    prompts += ["a large yellow circle on a blue background", "a house", "a small red ring on the left"]

    found = []
    for prompt in prompts:
        drawn = Diffusion(
            width=512,
            height=512,
            prompt=(Piece(prompt),),
            model="1000000000000000001",
            sampler="DPM++ 2M Karras",
        )
        (picture,) = drawn.run(Canvas(seeds=(1,)), tools).pictures
        found.append(len(engine.find(picture, Look())))

    assert found == [1, 1, 1, 0, 0, 0]


# Masks


def mask(*boxes: tuple[int, int, int, int]) -> Image.Image:
    made = Image.new("L", (64, 48))
    for box in boxes:
        made.paste(255, box)
    return made


def test_masks_grow_and_shrink() -> None:
    square = mask((20, 10, 30, 20))

    (grown,) = shaped([square], Look(dilate_erode_px=4))
    (shrunk,) = shaped([square], Look(dilate_erode_px=-4))

    # As OpenCV's 4 × 4 kernel: two pixels on one side, one on the other.
    assert np.asarray(grown).astype(bool).sum() == 13 * 13
    assert np.asarray(shrunk).astype(bool).sum() == 7 * 7
    assert shaped([square], Look(dilate_erode_px=0)) == [square]


def test_a_mask_that_vanishes_is_none() -> None:
    assert shaped([mask((1, 1, 4, 4))], Look(dilate_erode_px=-8)) == []


def test_a_mask_at_the_border_does_not_shrink_from_it() -> None:
    (shrunk,) = shaped([mask((0, 0, 64, 20))], Look(dilate_erode_px=-3))

    assert np.asarray(shrunk)[0].all()


def test_masks_become_one_or_all_but_one() -> None:
    masks = [mask((0, 0, 10, 10)), mask((20, 20, 30, 30))]

    (merged,) = shaped(masks, Look(dilate_erode_px=0, mask_merge="Merge"))
    (inverted,) = shaped(masks, Look(dilate_erode_px=0, mask_merge="Merge and Invert"))

    assert np.asarray(merged).astype(bool).sum() == 200
    assert (np.asarray(inverted) == 255 - np.asarray(merged)).all()
    assert shaped([], Look(mask_merge="Merge and Invert")) == []


# Files


def yolo(**fields: Any) -> Model:
    entry = {"id": "9", "name": "hand_yolov8n.pt", "path": Path("hand_yolov8n.pt"), "sha256": "0" * 64}
    return Model(kind=Kind.DETECTOR, family=Family.ANY, **(entry | fields))


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stands for `ultralytics`: answers `result`, as that package words it, and remembers what it was asked."""
    told = SimpleNamespace(result=None, asked=[])

    class YOLO:
        def __init__(self, path: Path) -> None:
            self.path = path

        def __call__(self, picture: Any, **wish: Any) -> list[Any]:
            told.asked.append((self.path, wish))
            return [told.result]

    module = ModuleType("ultralytics")
    module.YOLO = YOLO  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ultralytics", module)
    detectors._yolo.cache_clear()
    return told


def test_boxes_of_a_yolo_file_become_rectangles(package: SimpleNamespace) -> None:
    package.result = SimpleNamespace(masks=None, boxes=SimpleNamespace(xyxy=torch.tensor([[4.0, 5.0, 13.0, 24.0]])))

    (found,) = yolo_masks(yolo(), Image.new("RGB", (64, 48)), 0.6)

    assert (np.asarray(found) > 0).sum() == 10 * 20
    assert package.asked == [(Path("hand_yolov8n.pt"), {"conf": 0.6, "verbose": False})]


def test_shapes_of_a_yolo_file_are_brought_to_the_picture(package: SimpleNamespace) -> None:
    shape = torch.zeros(1, 24, 32)
    shape[0, :12] = 1
    package.result = SimpleNamespace(masks=SimpleNamespace(data=shape))

    (found,) = yolo_masks(yolo(), Image.new("RGB", (64, 48)), 0.6)

    assert found.size == (64, 48)
    assert np.asarray(found)[:22].all() and not np.asarray(found)[26:].any()


def test_a_yolo_file_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    detectors._yolo.cache_clear()

    with pytest.raises(FatalFailure, match="model 9: the package ultralytics is not installed"):
        yolo_masks(yolo(), Image.new("RGB", (64, 48)), 0.6)


def test_a_yolo_file_is_opened_only_where_its_sha256_is_stated(package: SimpleNamespace) -> None:
    with pytest.raises(FatalFailure, match="must state its sha256"):
        yolo_masks(yolo(sha256=""), Image.new("RGB", (64, 48)), 0.6)
