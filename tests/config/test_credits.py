"""The price file, and how its mistakes are told."""

from decimal import Decimal
from pathlib import Path

import pytest

from config.credits import read_rates
from config.settings import Settings
from jobs.credits import OTHER, Rates, VideoRate


def read(folder: Path, text: str) -> Rates:
    file = folder / "credits.toml"
    file.write_text(text)
    return read_rates(file)


def test_the_file_that_comes_with_darkroom_has_the_published_prices() -> None:
    assert read_rates(Settings.model_fields["credits_file"].default) == Rates()


def test_what_a_file_leaves_out_is_as_published(tmp_path: Path) -> None:
    assert read(tmp_path, "") == Rates()


def test_what_a_file_names_is_replaced_and_the_rest_stays(tmp_path: Path) -> None:
    text = "models = {SDXL = 1.5}\nupscaled_areas = {other = 4}\nvideo.factor = 2\n"
    rates = read(tmp_path, text + "video.models.MINE = {text_to_video = 0.1, image_to_video = 0.2, fast = 0.3}")

    assert (rates.model("SDXL"), rates.model("FLUX"), rates.model("SD15")) == (Decimal("1.5"), 2, 1)
    assert (rates.upscaled_area("SD15"), rates.upscaled_area("FLUX")) == (4, 3)
    assert rates.video_factor == 2
    mine = VideoRate(text_to_video=Decimal("0.1"), image_to_video=Decimal("0.2"), fast=Decimal("0.3"))
    assert rates.video("MINE", 1, 1) == mine
    assert rates.video_models[OTHER] == Rates().video_models[OTHER]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("price = 1\n", "unknown entries price"),
        ("models = {SD9 = 1}\n", "unknown entries models.SD9"),
        ("models = 1\n", "models must be a table"),
        ('models = {FLUX = "2"}\n', "models.FLUX must be a number from 0"),
        ("models = {FLUX = true}\n", "models.FLUX must be a number from 0"),
        ("models = {FLUX = -1}\n", "models.FLUX must be a number from 0"),
        ("models = {FLUX = nan}\n", "models.FLUX must be a number from 0"),
        ("models = {FLUX = inf}\n", "models.FLUX must be a number from 0"),
        ("upscaled_areas = {SD9 = 1}\n", "unknown entries upscaled_areas.SD9"),
        ("video = {price = 1}\n", "unknown entries video.price"),
        ('video = {factor = "x"}\n', "video.factor must be a number"),
        ("video.models.X = 1\n", "video.models.X must be a table"),
        ("video.models.X = {slow = 1}\n", "unknown entries video.models.X.slow"),
        ("video.models.X = {fast = 1}\n", "video.models.X: text_to_video and image_to_video are needed"),
        ("[models\n", "line 1"),
    ],
)
def test_a_mistake_is_told_with_the_file_and_the_entry(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        read(tmp_path, text)

    assert str(tmp_path / "credits.toml") in str(refused.value)
    assert told in str(refused.value)
