"""The catalogue file, and how its mistakes are told."""

from pathlib import Path

import pytest

from config.catalog import read_catalog
from config.settings import Settings
from jobs.catalog import Catalog, Family

GOOD = '[[model]]\nid = "7"\nname = "dream"\nfamily = "SDXL"\npath = "dream.safetensors"\n'
MODELS = Path("/models")


def read(folder: Path, text: str) -> Catalog:
    file = folder / "catalog.toml"
    file.write_text(text)
    return read_catalog(file, MODELS)


def test_an_entry_becomes_a_model_below_the_models_folder(tmp_path: Path) -> None:
    model = read(tmp_path, GOOD + 'aliases = ["d", "dm"]\nconfig = "sdxl"\n').default

    assert (model.id, model.name, model.family, model.aliases) == ("7", "dream", Family.SDXL, ("d", "dm"))
    assert (model.path, model.config_path) == (MODELS / "dream.safetensors", MODELS / "sdxl")


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    text = GOOD.replace("dream.safe", "/else/dream.safe")

    assert read(tmp_path, text).default.path == Path("/else/dream.safetensors")


def test_the_first_entry_is_the_default(tmp_path: Path) -> None:
    second = GOOD.replace('"7"', '"8"').replace('"dream"', '"photon"')

    assert read(tmp_path, GOOD + second).resolve("").name == "dream"


def test_the_file_that_comes_with_darkroom_is_valid() -> None:
    assert read_catalog(Settings.model_fields["catalog_file"].default, MODELS).default.name == "darkroom-tiny"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace('id = "7"\n', ""), "model 1: id is missing"),
        (GOOD + GOOD.replace('path = "dream.safetensors"\n', ""), "model 2: path is missing"),
        (GOOD.replace("SDXL", "SD9"), "model 1: 'SD9' is not a valid Family"),
        (GOOD + 'vae = "x"\n', "model 1: unknown entries vae"),
        (GOOD.replace('"7"', "7"), "model 1: id must be text"),
        (GOOD.replace('"dream"', "true"), "model 1: name must be text"),
        (GOOD.replace('"dream.safetensors"', "[1]"), "model 1: path must be text"),
        (GOOD + "aliases = [1]\n", "model 1: aliases must be a list of texts"),
        (GOOD + 'aliases = "d"\n', "model 1: aliases must be a list of texts"),
        (GOOD + GOOD.replace('"7"', '"8"'), "gives the name 'dream' to both 7 and 8"),
        ("", "names no model"),
        ("model = 5\n", "model"),
        ("model = [5]\n", "model 1: must be a table"),
        ("[[model]\n", "line 1"),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_entry(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        read(tmp_path, text)

    assert str(tmp_path / "catalog.toml") in str(refused.value)
    assert told in str(refused.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"absent\.toml"):
        read_catalog(tmp_path / "absent.toml", MODELS)
