"""What names the weights and the code that draw: another name where a picture could be another."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

import gpu_worker.drawn_by
from gpu_worker.drawn_by import drawn_by
from jobs.catalog import Catalog, Family, Model


@pytest.fixture
def model(tmp_path: Path) -> Model:
    for file in ("one.safetensors", "config/unet/config.json", "folder/vae/x.safetensors", "code/__init__.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("as it was")
    return Model(
        id="1",
        name="one",
        family=Family.SD15,
        path=tmp_path / "one.safetensors",
        config_path=tmp_path / "config",
    )


def named(model: Model) -> str:
    return drawn_by(Catalog([model]))


def replaced(file: Path) -> None:
    """By as many bytes, a second later."""
    file.write_text("as it is!")
    os.utime(file, (file.stat().st_atime, file.stat().st_mtime + 1))


@pytest.mark.parametrize(
    ("of", "file"),
    [
        (lambda model: model, "one.safetensors"),
        (lambda model: model, "config/unet/config.json"),
        (lambda model: replace(model, path=model.path.with_name("folder")), "folder/vae/x.safetensors"),
        # Of a folder, the sha256 is that of its main file.
        (
            lambda model: replace(model, path=model.path.with_name("folder"), sha256="a" * 64),
            "folder/vae/x.safetensors",
        ),
    ],
)
def test_what_is_replaced_in_place_has_another_name(
    model: Model, tmp_path: Path, of: Callable[[Model], Model], file: str
) -> None:
    first = named(of(model))
    again = named(of(model))

    replaced(tmp_path / file)

    assert first == again != named(of(model))


def test_a_file_whose_sha256_is_stated_has_the_name_of_that(model: Model) -> None:
    stated = replace(model, sha256="a" * 64)
    first = named(stated)

    replaced(model.path)

    assert first == named(stated) != named(replace(model, sha256="b" * 64))


def test_a_model_that_has_another_configuration_or_none_has_another_name(model: Model) -> None:
    others = [replace(model, config_path=None), replace(model, config_path=model.path.with_name("folder"))]

    assert len({named(each) for each in (model, *others)}) == 3


def test_code_that_is_changed_has_another_name(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = ModuleType("package")
    package.__file__ = str(tmp_path / "code" / "__init__.py")
    monkeypatch.setattr(gpu_worker.drawn_by, "PACKAGES", (package,))
    first = named(model)

    replaced(tmp_path / "code" / "__init__.py")

    assert first != named(model)


def test_a_model_that_is_missing_is_no_fault(model: Model) -> None:
    assert named(replace(model, path=model.path.with_name("gone")))
