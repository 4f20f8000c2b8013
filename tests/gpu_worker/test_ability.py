"""What a worker says of itself: by the files that lie here, their sizes, and what its operator lets it serve."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import structlog
from safetensors.numpy import save_file

from gpu_worker import ability as module
from gpu_worker.__main__ import _warn_of_little
from gpu_worker.ability import ability_of, largest_part_bytes, served
from gpu_worker.engine.device import CPU, Device
from jobs.capabilities import RUNNABLE
from jobs.catalog import Catalog, Family, Kind, Model


def weights(file: Path, **numbers: int) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: np.zeros(number, np.float16) for name, number in numbers.items()}, file)
    return file


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    weights(tmp_path / "base/unet/diffusion_pytorch_model.safetensors", a=1000)
    lora, base = weights(tmp_path / "lora.safetensors", b=10), tmp_path / "base"
    return Catalog(
        [
            Model(id="1", name="base", family=Family.SD15, path=base),
            Model(id="2", name="large", family=Family.FLUX, path=base),
            Model(id="3", name="gone", family=Family.SD15, path=tmp_path / "gone"),
            Model(id="4", name="style", family=Family.SD15, path=lora, kind=Kind.LORA),
            Model(id="5", name="hands", family=Family.ANY, path=lora, kind=Kind.DETECTOR),
        ]
    )


def test_what_lies_here_and_fits_can_be_run(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _name: None)

    ability = ability_of(catalog, CPU)

    assert ability.stages == RUNNABLE
    assert ability.models == {
        "1": "",
        "2": "",
        "3": "CHECKPOINT 'gone' is in the catalogue, but its files are not on the workers",
        "4": "",
        "5": "DETECTOR 'hands' needs the package ultralytics, which is not installed on the workers",
    }


def test_a_worker_serves_the_families_and_stages_that_its_operator_names(catalog: Catalog) -> None:
    ability = ability_of(catalog, CPU, families=[Family.SD15], stages=["INPUT_INITIALIZE", "DIFFUSION"])

    assert ability.stages == {"INPUT_INITIALIZE", "DIFFUSION"}
    assert ability.models["1"] == "" and "which no worker serves" in ability.models["2"]
    assert "family" not in ability.models["5"]


@pytest.mark.parametrize(
    ("families", "stages", "left"),
    [
        ((), (), RUNNABLE - {"INPUT_INITIALIZE", "CONTROLNET_DETECT"}),
        ((), ("INPUT_INITIALIZE", "DIFFUSION"), {"DIFFUSION"}),
        ((), ("DIFFUSION",), set()),  # jobs begin with another
        ((), ("INPUT_INITIALIZE",), set()),
        ((), ("CONTROLNET_DETECT",), set()),  # there is no preprocessor
        ((Family.SDXL,), (), {"IMAGE_TO_UPSCALER"}),  # there is no checkpoint
        ((Family.SDXL,), ("INPUT_INITIALIZE", "DIFFUSION"), set()),
    ],
)
def test_what_its_operator_has_left_it_to_serve_is_known(
    catalog: Catalog, families: tuple[Family, ...], stages: tuple[str, ...], left: set[str]
) -> None:
    assert served(ability_of(catalog, CPU, families=families, stages=stages), catalog) == left


def test_a_preprocessor_is_enough_to_detect(catalog: Catalog) -> None:
    network = replace(catalog.models[4], id="6", kind=Kind.PREPROCESSOR)
    more = Catalog([*catalog.models, network])

    assert served(ability_of(more, CPU, stages=["CONTROLNET_DETECT"]), more) == {"CONTROLNET_DETECT"}


@pytest.mark.parametrize(
    ("stages", "event"),
    [
        (["DIFFUSION"], ["worker_has_nothing_to_run"]),
        (["INPUT_INITIALIZE", "DIFFUSION", "IMAGE_TO_UPSCALER"], ["worker_has_nothing_to_draw_with"]),
        (["INPUT_INITIALIZE", "IMAGE_TO_UPSCALER"], []),
    ],
)
def test_a_worker_that_can_do_little_says_so(catalog: Catalog, stages: list[str], event: list[str]) -> None:
    with structlog.testing.capture_logs() as logs:
        _warn_of_little(ability_of(catalog, CPU, families=[Family.SDXL], stages=stages), catalog)

    assert [each["event"] for each in logs] == event
    assert all("CHECKPOINT 'base' is of the family SD15, which no worker serves" in each["because"] for each in logs)


def test_what_does_not_fit_is_told_with_both_sizes(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Device, "memory_bytes", 1000)

    ability = ability_of(catalog, CPU)

    assert ability.models["1"] == "CHECKPOINT 'base' needs 0.0 GiB of memory, and the workers have 0.0"
    assert ability.models["4"] == ""


def test_the_largest_network_counts_in_the_devices_precision(tmp_path: Path) -> None:
    weights(tmp_path / "unet/model-00001-of-00002.safetensors", a=100)
    weights(tmp_path / "unet/model-00002-of-00002.safetensors", b=50)
    weights(tmp_path / "vae/model.safetensors", c=120)
    (tmp_path / "model_index.json").write_text("{}")

    assert largest_part_bytes(tmp_path, 4) == 600
    assert largest_part_bytes(tmp_path / "vae", 2) == 240


def test_of_a_published_folder_only_what_is_loaded_counts(tmp_path: Path) -> None:
    weights(tmp_path / "unet/model.safetensors", a=100)
    for variant in ("fp16", "non_ema"):
        weights(tmp_path / f"unet/model.{variant}.safetensors", a=100)
    weights(tmp_path / "vae/model.fp16.safetensors", c=120)
    weights(tmp_path / "whole_1.0.safetensors", a=500)
    (tmp_path / "model_index.json").write_text("{}")

    assert largest_part_bytes(tmp_path, 2) == 240


@pytest.mark.parametrize(
    ("tensors", "largest"),
    [
        ({"model.diffusion_model.a": 70, "model.diffusion_model.b": 7, "first_stage_model.c": 60}, 77),
        ({"text_encoders.clip_l.a": 30, "text_encoders.t5xxl.b": 60, "model.diffusion_model.c": 50}, 60),
        ({"double_blocks.0.a": 30, "single_blocks.0.b": 20}, 50),
    ],
)
def test_of_one_file_the_largest_network_counts(tmp_path: Path, tensors: dict[str, int], largest: int) -> None:
    assert largest_part_bytes(weights(tmp_path / "one.safetensors", **tensors), 2) == 2 * largest


def test_what_cannot_be_read_is_left_to_who_loads_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no")

    assert largest_part_bytes(broken, 4) == 0


def test_memory_is_all_of_the_devices() -> None:
    assert CPU.memory_bytes > 2**30
