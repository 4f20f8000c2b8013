"""`darkroom models`, as an operator runs it."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

RIGHT = hashlib.sha256(b"right").hexdigest()
ENTRY = '[[model]]\nid = "{id}"\nname = "{name}"\nfamily = "SD15"\npath = "{name}.safetensors"\n{more}\n'


def entry(id: str, name: str, more: str = "") -> str:
    return ENTRY.format(id=id, name=name, more=more)


def darkroom(folder: Path, command: str, *entries: str) -> subprocess.CompletedProcess[str]:
    """Only these two variables are set: the command needs no database."""
    (folder / "catalog.toml").write_text("".join(entries))
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "DARKROOM_CATALOG_FILE": str(folder / "catalog.toml"),
        "DARKROOM_MODELS_FOLDER": str(folder),
    }
    return subprocess.run(
        [sys.executable, "-m", "cli", "models", command], env=environment, capture_output=True, text=True, timeout=60
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("right", "wrong", "unstated"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    return tmp_path


def test_list_shows_a_line_per_model(folder: Path) -> None:
    lora = f'kind = "LORA"\naccess_key_sha256 = "{RIGHT}"'

    done = darkroom(folder, "list", entry("7", "right", 'aliases = ["r", "fit"]'), entry("8", "absent", lora))

    first, second = done.stdout.splitlines()
    assert first.split() == [
        "7",
        "CHECKPOINT",
        "SD15",
        *["right", "(also", "'r'", "and", "'fit')"],
        str(folder / "right.safetensors"),
    ]
    assert second.split() == ["8", "LORA", "SD15", "absent", str(folder / "absent.safetensors"), "private", "absent"]
    assert RIGHT not in done.stdout and done.returncode == 0


def test_verify_tells_the_sha256_that_is_not_stated(folder: Path) -> None:
    done = darkroom(folder, "verify", entry("7", "right", f'sha256 = "{RIGHT}"'), entry("8", "unstated"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "7 right: sha256 right",
        f"8 unstated: sha256 not stated; it is {hashlib.sha256(b'unstated').hexdigest()}",
    ]


def test_verify_fails_with_a_line_for_every_model_that_is_wrong(folder: Path) -> None:
    stated = f'sha256 = "{RIGHT}"'

    done = darkroom(folder, "verify", entry("7", "wrong", stated), entry("8", "right", stated), entry("9", "absent"))

    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["WRONG", "8", "WRONG"]
    assert done.stderr == "darkroom: 2 of 3 models are not as the catalogue states\n"


def test_a_catalogue_that_is_wrong_is_told_in_one_line(folder: Path) -> None:
    done = darkroom(folder, "list", entry("7", "right"), entry("x", "wrong"))

    assert done.returncode == 2
    assert done.stderr.startswith(
        f"darkroom: DARKROOM_CATALOG_FILE: {folder / 'catalog.toml'}: model 2: id must be a number"
    )
