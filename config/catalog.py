"""Reads the catalogue file. What its entries mean is `jobs.catalog`'s."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jobs.catalog import FAMILIES_OF_KINDS, KINDS_OF_ANY_FAMILY, Catalog, Family, Kind, Model
from jobs.errors import DarkroomError
from jobs.names import quoted

MAX_ID = 2**64 - 1
ENTRIES = {
    "id", "name", "aliases", "kind", "family", "path", "config", "description", "licence", "project_name",
    "showcase_image_urls", "trigger_words", "sha256", "access_key_sha256", "guidance_rescale",
}  # fmt: skip
NAMED_FAMILIES = frozenset(Family) - {Family.ANY}
NO_KEY = hashlib.sha256(b"").hexdigest()


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
    unknown = entry.keys() - ENTRIES
    if unknown:
        raise ValueError(f"{where}: unknown entries {', '.join(sorted(unknown))}")
    try:
        return _read(entry, models_folder)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _read(entry: dict[str, Any], models_folder: Path) -> Model:
    kind = Kind(_word(entry, "kind", Kind, Kind.CHECKPOINT))
    return Model(
        id=_id(entry),
        name=_text(entry, "name"),
        aliases=_texts(entry, "aliases"),
        kind=kind,
        family=_family(entry, kind),
        path=models_folder / _text(entry, "path"),
        config_path=models_folder / _text(entry, "config") if "config" in entry else None,
        description=_text(entry, "description", ""),
        licence=_text(entry, "licence", ""),
        project_name=_text(entry, "project_name", ""),
        showcase_image_urls=_addresses(entry, "showcase_image_urls"),
        trigger_words=_texts(entry, "trigger_words"),
        sha256=_sha256(entry, "sha256"),
        access_key_sha256=_access_key(entry),
        guidance_rescale=_share(entry, "guidance_rescale"),
        clip_layers=_clip_layers(models_folder / entry.get("config", entry["path"]))
        if kind is Kind.CHECKPOINT
        else None,
    )


def _clip_layers(folder: Path) -> int | None:
    """As the folder says, where it is on this machine; what is wrong with one is said where it is loaded."""
    layers = []
    for part in ("text_encoder", "text_encoder_2"):
        try:
            config = json.loads((folder / part / "config.json").read_text())
            if config["model_type"] == "clip_text_model":
                layers.append(int(config["num_hidden_layers"]))
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return min(layers, default=None)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError("model must be a list of tables: [[model]]")
    return value


def _id(entry: dict[str, Any]) -> str:
    text = _text(entry, "id")
    if not re.fullmatch("[1-9][0-9]{0,19}", text) or int(text) > MAX_ID:
        raise ValueError(f"id must be a number from 1 to {MAX_ID}, in quotes")
    return text


def _family(entry: dict[str, Any], kind: Kind) -> Family:
    if kind in KINDS_OF_ANY_FAMILY:
        family = Family(_word(entry, "family", Family, Family.ANY))
    else:
        family = Family(_word(entry, "family", NAMED_FAMILIES))
    families = FAMILIES_OF_KINDS.get(kind, frozenset(Family))
    if family not in families | {Family.ANY}:
        reason = "cannot be loaded by this version of Darkroom"
        raise ValueError(f"a {kind} for {family} {reason}; one for {quoted(sorted(families), 'or')} can")
    return family


def _access_key(entry: dict[str, Any]) -> str:
    digest = _sha256(entry, "access_key_sha256")
    if digest == NO_KEY:  # an unset variable in a shell
        raise ValueError("access_key_sha256 is that of an empty key, which would let everybody in")
    return digest


def _sha256(entry: dict[str, Any], name: str) -> str:
    digest = _text(entry, name, "").lower()
    if digest and not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"{name} must be 64 hexadecimal digits")
    return digest


def _share(entry: dict[str, Any], name: str) -> float:
    value = entry.get(name, 0.0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"{name} must be a number from 0 to 1")
    return float(value)


def _addresses(entry: dict[str, Any], name: str) -> tuple[str, ...]:
    urls = _texts(entry, name)
    if not all(re.match(r"https?://[^\s/]", url) for url in urls):
        raise ValueError(f"{name} must begin with http:// or https://")
    return urls


def _word(entry: dict[str, Any], name: str, words: Iterable[str], default: str | None = None) -> str:
    word = _text(entry, name, default)
    if word not in set(words):
        raise ValueError(f"{name} {word!r} is none of {quoted(sorted(words))}")
    return word


def _text(entry: dict[str, Any], name: str, default: str | None = None) -> str:
    if name not in entry:
        if default is None:
            raise ValueError(f"{name} is missing")
        return default
    value = entry[name]
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} must be text")
    return value


def _texts(entry: dict[str, Any], name: str) -> tuple[str, ...]:
    values = entry.get(name, [])
    if not isinstance(values, list) or not all(isinstance(each, str) and each for each in values):
        raise ValueError(f"{name} must be a list of texts")
    return tuple(values)
