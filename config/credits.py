"""Reads the price file. What its entries mean is `jobs.credits`'s."""

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from decimal import Decimal
from pathlib import Path

from jobs.catalog import Family
from jobs.credits import OTHER, Rates, VideoRate

FAMILIES = {*Family, "FLUX", OTHER}
MAX_NUMBER = 1_000_000


def read_rates(file: Path) -> Rates:
    """The published prices, with what the file changes. Raises ValueError, with the file and the entry."""
    try:
        return _rates(tomllib.loads(file.read_text(encoding="utf-8"), parse_float=Decimal))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error


def _rates(entries: Mapping[str, object]) -> Rates:
    _refuse_unknown(entries, {"models", "upscaled_areas", "video"}, "")
    video = _table(entries, "video", "")
    _refuse_unknown(video, {"factor", "models"}, "video.")
    published = Rates()
    return Rates(
        models={**published.models, **_factors(entries, "models")},
        upscaled_areas={**published.upscaled_areas, **_factors(entries, "upscaled_areas")},
        video_models={**published.video_models, **_video_models(_table(video, "models", "video."))},
        video_factor=_number(video["factor"], "video.factor") if "factor" in video else published.video_factor,
    )


def _factors(entries: Mapping[str, object], name: str) -> dict[str, Decimal]:
    table = _table(entries, name, "")
    _refuse_unknown(table, FAMILIES, f"{name}.")
    return {family: _number(value, f"{name}.{family}") for family, value in table.items()}


def _video_models(table: Mapping[str, object]) -> dict[str, VideoRate]:
    return {name: _video_rate(_table(table, name, "video.models."), f"video.models.{name}") for name in table}


def _video_rate(entry: Mapping[str, object], where: str) -> VideoRate:
    _refuse_unknown(entry, {each.name for each in fields(VideoRate)}, f"{where}.")
    try:
        return VideoRate(**{name: _number(value, f"{where}.{name}") for name, value in entry.items()})
    except TypeError as error:
        raise ValueError(f"{where}: text_to_video and image_to_video are needed") from error


def _table(entries: Mapping[str, object], name: str, where: str) -> dict[str, object]:
    value = entries.get(name, {})
    if not isinstance(value, dict):
        raise ValueError(f"{where}{name} must be a table")
    return value


def _number(value: object, where: str) -> Decimal:
    if isinstance(value, int | Decimal) and not isinstance(value, bool):
        number = Decimal(value)
        if number.is_finite() and 0 <= number <= MAX_NUMBER:
            return number
    raise ValueError(f"{where} must be a number from 0 to {MAX_NUMBER}")


def _refuse_unknown(entries: Mapping[str, object], known: set[str], where: str) -> None:
    unknown = sorted(f"{where}{name}" for name in entries.keys() - known)
    if unknown:
        raise ValueError(f"unknown entries {', '.join(unknown)}")
