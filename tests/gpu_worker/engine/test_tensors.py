"""Models of one file, and what is said of those that cannot be read."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gpu_worker.engine import tensors
from gpu_worker.engine.tensors import read_tensors
from jobs.catalog import Family, Kind, Model
from jobs.errors import FatalFailure


def model_at(file: Path) -> Model:
    return Model(id="m7", name="ink", kind=Kind.LORA, family=Family.SD15, path=file)


def test_tensors_come_by_their_names(tmp_path: Path) -> None:
    save_file({"one": torch.ones(2)}, tmp_path / "ink.safetensors")

    assert read_tensors(model_at(tmp_path / "ink.safetensors"))["one"].tolist() == [1, 1]


@pytest.mark.parametrize("name", ["absent.safetensors", "damaged.safetensors", "ink.ckpt"])
def test_what_cannot_be_read_is_named_with_its_file(tmp_path: Path, name: str) -> None:
    for each in ("damaged.safetensors", "ink.ckpt"):
        (tmp_path / each).write_bytes(b"no safetensors")

    with pytest.raises(FatalFailure, match=rf"LORA m7: (cannot load )?.*{name}"):
        read_tensors(model_at(tmp_path / name))


def test_a_machine_that_is_too_small_is_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(_path: Path) -> dict[str, torch.Tensor]:
        raise MemoryError

    monkeypatch.setattr(tensors, "load_file", lacks)

    with pytest.raises(MemoryError):
        read_tensors(model_at(tmp_path / "ink.safetensors"))
