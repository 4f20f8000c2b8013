"""Reads the catalogue file. What its entries mean is `jobs.catalog`'s."""

import tomllib
from pathlib import Path
from typing import Any

from jobs.catalog import Catalog, Family, Model


def read_catalog(file: Path, models_folder: Path) -> Catalog:
    """Raises ValueError, with the file and the entry, if it is not valid."""
    entries = tomllib.loads(file.read_text()).get("model", [])
    return Catalog([_model(entry, f"{file}: model {i + 1}", models_folder) for i, entry in enumerate(entries)])


def _model(entry: dict[str, Any], where: str, models_folder: Path) -> Model:
    unknown = entry.keys() - {"id", "name", "aliases", "family", "path", "config"}
    if unknown:
        raise ValueError(f"{where}: unknown entries {', '.join(sorted(unknown))}")
    try:
        return Model(
            id=entry["id"],
            name=entry["name"],
            aliases=tuple(entry.get("aliases", ())),
            family=Family(entry["family"]),
            path=models_folder / entry["path"],
            config_path=models_folder / entry["config"] if "config" in entry else None,
        )
    except KeyError as error:
        raise ValueError(f"{where}: {error.args[0]} is missing") from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
