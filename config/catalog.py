"""Reads the catalogue file. What its entries mean is `jobs.catalog`'s."""

import tomllib
from pathlib import Path
from typing import Any

from jobs.catalog import Catalog, Family, Model
from jobs.errors import DarkroomError


def read_catalog(file: Path, models_folder: Path) -> Catalog:
    """Raises ValueError, with the file and the entry, if it is not valid."""
    try:
        entries = tomllib.loads(file.read_text(encoding="utf-8")).get("model", [])
        return Catalog([_model(entry, f"model {i + 1}", models_folder) for i, entry in enumerate(_list(entries))])
    except (ValueError, DarkroomError) as error:
        raise ValueError(f"{file}: {error}") from error


def _model(entry: object, where: str, models_folder: Path) -> Model:
    if not isinstance(entry, dict):
        raise ValueError(f"{where}: must be a table")
    unknown = entry.keys() - {"id", "name", "aliases", "family", "path", "config"}
    if unknown:
        raise ValueError(f"{where}: unknown entries {', '.join(sorted(unknown))}")
    try:
        return Model(
            id=_text(entry, "id"),
            name=_text(entry, "name"),
            aliases=_texts(entry, "aliases"),
            family=Family(_text(entry, "family")),
            path=models_folder / _text(entry, "path"),
            config_path=models_folder / _text(entry, "config") if "config" in entry else None,
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("model must be a list of tables: [[model]]")
    return value


def _text(entry: dict[str, Any], name: str) -> str:
    if name not in entry:
        raise ValueError(f"{name} is missing")
    value = entry[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be text")
    return value


def _texts(entry: dict[str, Any], name: str) -> tuple[str, ...]:
    values = entry.get(name, [])
    if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
        raise ValueError(f"{name} must be a list of texts")
    return tuple(values)
