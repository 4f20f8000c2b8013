"""Changes the catalogue file: an entry more, or one less. Comments and order stay, and nothing invalid is written."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config.catalog import read_catalog

_HEADER = re.compile(r"^\[\[model\]\][ \t]*(#.*)?$", re.MULTILINE)


def add_entry(file: Path, models_folder: Path, entry: Mapping[str, Any]) -> None:
    """Raises ValueError, and changes nothing, where the file would not be valid with it."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    lines = [f"{name} = {_written(value)}" for name, value in entry.items()]
    _replace(file, models_folder, "\n".join([before.rstrip(), "", "[[model]]", *lines, ""]).lstrip())


def remove_entry(file: Path, models_folder: Path, model_id: str) -> None:
    """Raises ValueError, and changes nothing, where there is no such entry or the file would not be valid after."""
    text = file.read_text(encoding="utf-8")
    entries = tomllib.loads(text)["model"]
    ids = [entry["id"] for entry in entries]
    if model_id not in ids:
        raise ValueError(f"{file}: no model has the id {model_id!r}")
    number = ids.index(model_id)
    after = _without(text, number)
    # A text of many lines may hold what looks like a header.
    if tomllib.loads(after).get("model", []) != entries[:number] + entries[number + 1 :]:
        raise ValueError(f"{file}: model {model_id} cannot be told from its neighbours; remove it by hand")
    _replace(file, models_folder, after)


def _without(text: str, number: int) -> str:
    starts = [found.start() for found in _HEADER.finditer(text)]
    start = starts[number]
    end = starts[number + 1] if number + 1 < len(starts) else len(text)
    # Comments right before the next entry are that one's.
    return text[:start] + _leading_comments_of_next(text[start:end]) + text[end:]


def _leading_comments_of_next(block: str) -> str:
    lines = block.splitlines(keepends=True)
    kept = len(lines)
    while kept and lines[kept - 1].startswith("#"):
        kept -= 1
    return "".join(lines[kept:])


def _replace(file: Path, models_folder: Path, text: str) -> None:
    new = file.with_name(f".{file.name}.new")
    new.write_text(text, encoding="utf-8")
    try:
        read_catalog(new, models_folder)
        os.replace(new, file)
    except ValueError as error:
        raise ValueError(str(error).replace(str(new), str(file))) from error
    finally:
        new.unlink(missing_ok=True)


def _written(value: Any) -> str:
    """TOML's basic strings and lists of them are written as JSON's."""
    return json.dumps(value, ensure_ascii=False)
