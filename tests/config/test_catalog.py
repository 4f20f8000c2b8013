"""The catalogue file, and how its mistakes are told."""

import hashlib
import json
from pathlib import Path

import pytest

from config.catalog import read_catalog
from config.settings import Settings
from jobs.catalog import Catalog, Family, Kind

GOOD = '[[model]]\nid = "7"\nname = "dream"\nfamily = "SDXL"\npath = "dream.safetensors"\n'
UPSCALER = '[[model]]\nid = "8"\nname = "dream"\nkind = "UPSCALER"\npath = "4x.safetensors"\n'
DETAILS = """
description = "Castles"
licence = "OpenRAIL++"
project_name = "Dream"
showcase_image_urls = ["https://images.example/1.png"]
trigger_words = ["dream style"]
"""
DIGEST = "0123456789abcdef" * 4
EMPTY = hashlib.sha256(b"").hexdigest()
MODELS = Path("/models")


def read(folder: Path, text: str) -> Catalog:
    file = folder / "catalog.toml"
    file.write_text(text)
    return read_catalog(file, MODELS)


def test_an_entry_becomes_a_model_below_the_models_folder(tmp_path: Path) -> None:
    model = read(tmp_path, GOOD + 'aliases = ["d", "dm"]\nconfig = "sdxl"\n').default

    assert (model.id, model.name, model.family, model.aliases) == ("7", "dream", Family.SDXL, ("d", "dm"))
    assert (model.path, model.config_path) == (MODELS / "dream.safetensors", MODELS / "sdxl")


def test_what_is_told_of_a_model_is_read(tmp_path: Path) -> None:
    model = read(tmp_path, GOOD + DETAILS).default

    assert (model.description, model.licence, model.project_name) == ("Castles", "OpenRAIL++", "Dream")
    assert model.showcase_image_urls == ("https://images.example/1.png",)
    assert model.trigger_words == ("dream style",)


def test_guidance_rescale_is_read_and_none_is_usual(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD).default.guidance_rescale == 0
    assert read(tmp_path, GOOD + "guidance_rescale = 0.7\n").default.guidance_rescale == 0.7


def test_digests_are_read_in_any_case(tmp_path: Path) -> None:
    text = GOOD + f'sha256 = "{DIGEST}"\n' + UPSCALER + f'access_key_sha256 = "{DIGEST.upper()}"\n'

    checkpoint, upscaler = read(tmp_path, text).models

    assert (checkpoint.sha256, checkpoint.is_private) == (DIGEST, False)
    assert (upscaler.access_key_sha256, upscaler.is_private) == (DIGEST, True)


def test_what_works_on_pictures_may_leave_the_family_out_and_share_a_name(tmp_path: Path) -> None:
    catalog = read(tmp_path, GOOD + UPSCALER)

    assert catalog.resolve(Kind.UPSCALER, "dream").family is Family.ANY
    assert catalog.resolve(Kind.CHECKPOINT, "dream").kind is Kind.CHECKPOINT


def test_the_largest_id_is_64_bits_long(tmp_path: Path) -> None:
    assert read(tmp_path, GOOD.replace('"7"', '"18446744073709551615"')).default.id == "18446744073709551615"


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    text = GOOD.replace("dream.safe", "/else/dream.safe")

    assert read(tmp_path, text).default.path == Path("/else/dream.safetensors")


def test_the_first_entry_is_the_default(tmp_path: Path) -> None:
    second = GOOD.replace('"7"', '"8"').replace('"dream"', '"photon"')

    assert read(tmp_path, GOOD + second).default.name == "dream"


def test_the_file_that_comes_with_darkroom_is_valid() -> None:
    assert read_catalog(Settings.model_fields["catalog_file"].default, MODELS).default.name == "darkroom-shapes"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace('id = "7"\n', ""), "model 1: id is missing"),
        (GOOD + GOOD.replace('path = "dream.safetensors"\n', ""), "model 2: path is missing"),
        (GOOD.replace("SDXL", "SD9"), "model 1: family 'SD9' is none of 'FLUX', 'SD15', 'SD2', 'SD3' and 'SDXL'"),
        (GOOD + 'vae = "x"\n', "model 1: unknown entries vae"),
        (GOOD.replace('"7"', "7"), "model 1: id must be text"),
        (GOOD.replace('"7"', '"seven"'), "model 1: id must be a number from 1 to 18446744073709551615"),
        (GOOD.replace('"7"', '"007"'), "model 1: id must be a number"),
        (GOOD.replace('"7"', '"0"'), "model 1: id must be a number"),
        (GOOD.replace('"7"', '"٧"'), "model 1: id must be a number"),
        (GOOD.replace('"7"', '"18446744073709551616"'), "model 1: id must be a number"),
        (GOOD + 'kind = "lora"\n', "model 1: kind 'lora' is none of 'CHECKPOINT', "),
        (GOOD + UPSCALER.replace('"8"', '"7"'), "gives the id 7 to both 'dream' and 'dream'"),
        (GOOD + UPSCALER.replace("UPSCALER", "LORA"), "model 2: family is missing"),
        (GOOD.replace("SDXL", "ANY"), "model 1: family 'ANY' is none of"),
        (
            GOOD.replace("SDXL", "FLUX") + 'kind = "TEXTUAL_INVERSION"\n',
            "a TEXTUAL_INVERSION for FLUX cannot be loaded",
        ),
        (
            GOOD.replace("SDXL", "SD3") + 'kind = "MOTION_ADAPTER"\n',
            "model 1: a MOTION_ADAPTER for SD3 cannot be loaded",
        ),
        (GOOD + 'sha256 = "abc"\n', "model 1: sha256 must be 64 hexadecimal digits"),
        (GOOD + f'sha256 = "{"g" * 64}"\n', "model 1: sha256 must be 64 hexadecimal digits"),
        (GOOD + 'access_key_sha256 = "open sesame"\n', "model 1: access_key_sha256 must be 64 hexadecimal digits"),
        (GOOD + f'access_key_sha256 = "{EMPTY}"\n', "model 1: access_key_sha256 is that of an empty key"),
        (GOOD + 'showcase_image_urls = ["javascript:alert(1)"]\n', "showcase_image_urls must begin with http"),
        (GOOD + 'trigger_words = "dream style"\n', "model 1: trigger_words must be a list of texts"),
        (GOOD + "guidance_rescale = 1.5\n", "model 1: guidance_rescale must be a number from 0 to 1"),
        (GOOD + "guidance_rescale = true\n", "model 1: guidance_rescale must be a number"),
        (GOOD + "description = 5\n", "model 1: description must be text"),
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


def test_a_folders_text_encoders_say_how_many_layers_they_have(tmp_path: Path) -> None:
    for part, kind, layers in (("text_encoder", "clip_text_model", 12), ("text_encoder_2", "t5", 4)):
        (tmp_path / "dream" / part).mkdir(parents=True)
        told = {"model_type": kind, "num_hidden_layers": layers}
        (tmp_path / "dream" / part / "config.json").write_text(json.dumps(told))
    (tmp_path / "models.toml").write_text(GOOD.replace("dream.safetensors", "dream"))

    assert read_catalog(tmp_path / "models.toml", tmp_path).default.clip_layers == 12
    (tmp_path / "dream/text_encoder/config.json").write_text("{")
    assert read_catalog(tmp_path / "models.toml", tmp_path).default.clip_layers is None
