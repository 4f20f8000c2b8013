import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.catalog import Catalog, Family, Model
from jobs.errors import FatalFailure, WorkerStopping
from jobs.prompt import Piece
from jobs.samplers import Sampler


class Watcher:
    """Sees steps, renders previews at each, and cancels at `until`."""

    def __init__(self, until: int | None = None) -> None:
        self.steps: list[tuple[int, int]] = []
        self.previews: list[Image.Image] = []
        self._until = until

    def step_done(self, step: int, steps: int, preview: Callable[[], Any]) -> None:
        self.steps.append((step, steps))
        if step == self._until:
            raise WorkerStopping
        self.previews += preview()


def difference(one: Any, other: Any) -> int:
    """The largest, in 8-bit units."""
    return int(np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max())


@pytest.mark.parametrize("sampler", ["Euler a", "DPM++ SDE", "DPM++ 3M SDE Karras", "LCM", "DPM2 a"])
def test_the_same_seed_draws_the_same_bytes(engine: Any, draw: Any, sampler: str) -> None:
    checkpoint = engine.load("tiny")

    first, again = (engine.decode(checkpoint, draw(checkpoint, sampler=sampler))[0] for _ in range(2))

    assert first.tobytes() == again.tobytes()
    assert np.asarray(first).std() > 20


@pytest.mark.parametrize("sampler", list(Sampler))
def test_a_picture_is_the_same_alone_and_among_others(engine: Any, draw: Any, sampler: str) -> None:
    checkpoint = engine.load("tiny")

    several = engine.decode(checkpoint, draw(checkpoint, sampler=sampler, seeds=[7, 8, 9]))
    alone = engine.decode(checkpoint, draw(checkpoint, sampler=sampler, seeds=[8]))

    # A batch sums in another order, so some values are rounded to their neighbour.
    assert difference(several[1], alone[0]) <= 1
    assert difference(several[0], several[1]) > 100


def test_another_prompt_draws_another_picture(engine: Any, draw: Any) -> None:
    checkpoint = engine.load("tiny")
    cat, dog = (
        np.asarray(engine.decode(checkpoint, draw(checkpoint, prompt=(Piece(text),)))[0], dtype=int)
        for text in ("a red cat", "two dogs by the sea")
    )

    assert np.abs(cat - dog).mean() > 3


def test_each_step_is_seen_once(engine: Any, draw: Any) -> None:
    watcher = Watcher()

    # DPM2 calls the UNet 7 times for 4 steps.
    draw(engine.load("tiny"), sampler="DPM2", steps=4, watch=watcher)

    assert watcher.steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_raising_from_a_step_ends_the_work_there(engine: Any, draw: Any) -> None:
    watcher = Watcher(until=2)

    with pytest.raises(WorkerStopping):
        draw(engine.load("tiny"), steps=5, watch=watcher)

    assert watcher.steps == [(1, 5), (2, 5)]


def test_looking_at_previews_does_not_change_the_picture(engine: Any, draw: Any) -> None:
    checkpoint = engine.load("tiny")

    watched = draw(checkpoint, sampler="Euler a", watch=Watcher())

    assert torch.equal(watched, draw(checkpoint, sampler="Euler a"))


@pytest.mark.parametrize(
    ("model", "width", "height", "expected"),
    [
        ("tiny", 128, 192, (128, 192)),
        ("tiny", 768, 512, (256, 176)),  # 16 x 10.67 latents, rounded to 16 x 11
        ("sd15", 128, 512, (64, 256)),
    ],
)
def test_previews_are_small_and_keep_the_shape(
    engine: Any, draw: Any, model: str, width: int, height: int, expected: tuple[int, int]
) -> None:
    watcher = Watcher()

    draw(engine.load(model), width=width, height=height, steps=1, seeds=[1, 2], watch=watcher)

    assert [preview.size for preview in watcher.previews] == [expected, expected]


def test_the_last_preview_resembles_the_picture(engine: Any, draw: Any) -> None:
    checkpoint, watcher = engine.load("tiny"), Watcher()

    latents = draw(checkpoint, sampler="DPM++ 2M Karras", steps=10, watch=watcher)

    picture = np.asarray(engine.decode(checkpoint, latents)[0], dtype=float)
    likeness = [np.corrcoef(np.asarray(preview).ravel(), picture.ravel())[0, 1] for preview in watcher.previews]
    assert likeness[-1] > 0.95
    assert likeness[-1] > likeness[0]


def test_a_size_that_the_vae_cannot_make_is_refused(engine: Any, draw: Any) -> None:
    with pytest.raises(FatalFailure, match="136 x 128: with model tiny width and height must be multiples of 16"):
        draw(engine.load("tiny"), width=136)


def test_an_unknown_sampler_is_a_fatal_failure(engine: Any, draw: Any) -> None:
    with pytest.raises(FatalFailure, match="no sampler is named 'Eulr'"):
        draw(engine.load("tiny"), sampler="Eulr")


def test_an_unknown_model_is_a_fatal_failure(engine: Any) -> None:
    with pytest.raises(FatalFailure, match="no model has the id 'nothing'"):
        engine.load("nothing")


def test_a_model_is_loaded_only_if_its_weights_are_those_that_the_catalogue_states(folders: dict[str, Path]) -> None:
    weights = (folders["sd15"] / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    stated = {"right": hashlib.sha256(weights).hexdigest(), "wrong": "0" * 64}
    models = [
        Model(id=id, name=id, family=Family.SD15, path=folders["sd15"], sha256=sha256) for id, sha256 in stated.items()
    ]
    engine = DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)

    assert engine.load("right").model.id == "right"
    with pytest.raises(FatalFailure, match=f"model wrong: .* the catalogue states {'0' * 64}"):
        engine.load("wrong")


def catalog_of(folders: dict[str, Path], count: int) -> Catalog:
    return Catalog([Model(id=f"m{i}", name=f"n{i}", family=Family.SD15, path=folders["sd15"]) for i in range(count)])


def test_the_least_recently_used_model_makes_room(folders: dict[str, Path]) -> None:
    catalog = catalog_of(folders, 3)
    size = DiffusersEngine(catalog, CPU, max_cached_bytes=0).load("m0").size_bytes
    engine = DiffusersEngine(catalog, CPU, max_cached_bytes=2 * size)
    first, second = engine.load("m0"), engine.load("m1")
    assert engine.load("m0") is first

    engine.load("m2")

    assert engine.load("m0") is first
    assert engine.load("m1") is not second


def test_the_measured_size_is_that_of_the_files(engine: Any, folders: dict[str, Path]) -> None:
    on_disk = sum(file.stat().st_size for file in folders["sd15"].rglob("*.safetensors"))

    assert engine.load("sd15").size_bytes == pytest.approx(on_disk, rel=0.1)
