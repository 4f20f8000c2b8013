"""A VAE of the catalogue in place of the checkpoint's own."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from tests.gpu_worker.engine.conftest import FAMILIES
from tests.gpu_worker.engine.test_against_diffusers import SEED, STEPS, difference, reference


@pytest.fixture(scope="session")
def other(stock: dict[str, Any]) -> Any:
    """Of SD 1.5's shape, with other weights and another scale."""
    torch.manual_seed(5)
    return AutoencoderKL.from_config({**stock["sd15"].vae.config, "scaling_factor": 0.3}).eval()


@pytest.fixture(scope="session")
def engine(folders: dict[str, Path], other: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiffusersEngine]:
    models = [Model(id=id, name=id.upper(), family=FAMILIES[id], path=path) for id, path in folders.items()]
    root = tmp_path_factory.mktemp("vaes")
    other.save_pretrained(root / "other")
    paths = {"other": root / "other", "tiny-vae": folders["tiny"] / "vae", "absent": root / "absent"}
    models += [Model(id=name, name=name, kind=Kind.VAE, family=Family.SD15, path=path) for name, path in paths.items()]
    yield DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


def test_it_encodes_and_decodes_as_the_stock_pipeline_with_it(engine: Any, stock: Any, other: Any, draw: Any) -> None:
    pipeline = stock["sd15"]
    own, pipeline.vae = pipeline.vae, other
    try:
        theirs = reference(pipeline, "Euler", width=128, height=128, guidance_scale=5.0)
    finally:
        pipeline.vae = own
    checkpoint = engine.load("sd15", vae="other")

    ours = engine.decode(checkpoint, draw(checkpoint, seeds=[SEED], steps=STEPS))[0]
    plain = engine.decode(engine.load("sd15"), draw(engine.load("sd15"), seeds=[SEED], steps=STEPS))[0]

    assert difference(ours, theirs) <= 1
    assert not np.array_equal(np.asarray(plain), np.asarray(ours))


@pytest.mark.parametrize("name", ["tiny-vae", "absent", "unknown"])
def test_what_cannot_be_used_is_refused_by_name(engine: Any, name: str) -> None:
    with pytest.raises(FatalFailure, match=name):
        engine.load("sd15", vae=name)


def test_one_of_the_same_form_for_another_family_is_refused(engine: Any) -> None:
    with pytest.raises(FatalFailure, match="VAE other is for SD15 checkpoints, not for SDXL"):
        engine.load("sdxl", vae="other")
