"""`darkroom models add` and `remove`, as an operator runs them."""

import hashlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

CATALOGUE = """# The models of this house.

[[model]]
id = "7"
name = "old"  # the default
family = "SD15"
path = "old.safetensors"
# About the night: see its card.
[[model]]
id = "8"
name = "night"
kind = "LORA"
family = "SD15"
path = "night.safetensors"
"""


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@dataclass
class House:
    """A catalogue with two models, a folder of models, and files elsewhere."""

    models: Path
    elsewhere: Path
    catalogue: Path

    def run(self, *arguments: str, fails: bool = False) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "DARKROOM_CATALOG_FILE": str(self.catalogue),
            "DARKROOM_MODELS_FOLDER": str(self.models),
        }
        command = [sys.executable, "-m", "cli", "models", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stderr if fails else done.stdout

    def refused(self, *arguments: str) -> str:
        """What is told; nothing may have changed."""
        before = self.state()
        told = self.run(*arguments, fails=True)
        assert self.state() == before
        return told

    def state(self) -> tuple[str, list[Path]]:
        return self.catalogue.read_text(), sorted(self.catalogue.parent.rglob("*"))

    def entries(self) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = tomllib.loads(self.catalogue.read_text())["model"]
        return entries


@pytest.fixture
def house(tmp_path: Path) -> House:
    house = House(tmp_path / "models", tmp_path / "elsewhere", tmp_path / "catalog.toml")
    house.models.mkdir()
    house.elsewhere.mkdir()
    house.catalogue.write_text(CATALOGUE)
    for file in (house.models / "old", house.models / "night", house.elsewhere / "new"):
        save_file({"weight": torch.full((2, 3), float(len(file.name)))}, file.with_suffix(".safetensors"))
    return house


@pytest.fixture
def address(house: House) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=house.elsewhere))
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


NEW = ("--name", 'the "new" one', "--family", "SDXL")


def test_a_file_is_copied_and_listed_with_its_sha256(house: House) -> None:
    source = house.elsewhere / "new.safetensors"
    more = ("--id", "9", "--alias", "neu", "--trigger-word", "new", "--description", "Fresh")

    told = house.run("add", str(source), *NEW, "--kind", "LORA", *more)

    assert told.startswith("added") and "started again" in told
    assert house.catalogue.read_text().startswith(CATALOGUE.rstrip())
    assert house.entries()[2] == {
        "id": "9",
        "name": 'the "new" one',
        "aliases": ["neu"],
        "kind": "LORA",
        "family": "SDXL",
        "path": "new.safetensors",
        "description": "Fresh",
        "sha256": digest(source),
        "trigger_words": ["new"],
    }
    assert digest(house.models / "new.safetensors") == digest(source)
    assert "sha256 right" in house.run("verify")


def test_what_lies_in_the_folder_or_shall_stay_is_not_copied(house: House) -> None:
    house.run("add", str(house.models / "night.safetensors"), *NEW)
    house.run("add", str(house.elsewhere / "new.safetensors"), "--name", "stays", "--family", "SD15", "--in-place")

    paths = [entry["path"] for entry in house.entries()[2:]]
    assert paths == ["night.safetensors", str(house.elsewhere / "new.safetensors")]
    assert len(list(house.models.iterdir())) == 2
    assert len({entry["id"] for entry in house.entries()}) == 4


def test_a_folder_comes_as_a_whole(house: House) -> None:
    folder = house.elsewhere / "diffusers"
    (folder / "unet").mkdir(parents=True)
    save_file({"w": torch.ones(1)}, folder / "unet/diffusion_pytorch_model.safetensors")
    (folder / "model_index.json").write_text("{}")

    house.run("add", str(folder), *NEW)

    assert (house.models / "diffusers/model_index.json").read_text() == "{}"
    assert house.entries()[2]["sha256"] == digest(folder / "unet/diffusion_pytorch_model.safetensors")


def test_an_address_is_fetched_and_compared(house: House, address: str) -> None:
    sha256 = digest(house.elsewhere / "new.safetensors")

    house.run("add", f"{address}/new.safetensors", *NEW, "--sha256", sha256.upper())

    assert house.entries()[2]["path"] == "new.safetensors"
    assert digest(house.models / "new.safetensors") == sha256


@pytest.mark.parametrize(
    ("path", "sha256", "words"),
    [
        ("new.safetensors", None, "an address needs --sha256"),
        ("new.safetensors", "0" * 64, "has the sha256"),
        ("new.safetensors", "xyz", "must be 64 hexadecimal digits"),
        ("absent.safetensors", "0" * 64, "404"),
    ],
)
def test_an_address_that_sends_something_else_leaves_nothing(
    house: House, address: str, path: str, sha256: str | None, words: str
) -> None:
    stated = ("--sha256", sha256) if sha256 else ()

    assert words in house.refused("add", f"{address}/{path}", *NEW, *stated)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("garbage.safetensors", b"\x80garbage" * 9, "is no whole safetensors file"),
        ("empty.safetensors", b"", "is no whole safetensors file"),
        ("pickle.ckpt", b"\x80\x04.", "pickled and may run code"),
        ("pickle.safetensors", b"\x80\x04.", "is no whole safetensors file"),
    ],
)
def test_what_workers_would_not_read_is_refused_at_once(house: House, name: str, content: bytes, words: str) -> None:
    (house.elsewhere / name).write_bytes(content)

    assert words in house.refused("add", str(house.elsewhere / name), *NEW)


def test_a_file_that_is_cut_off_is_refused(house: House) -> None:
    file = house.elsewhere / "new.safetensors"
    file.write_bytes(file.read_bytes()[:-1])

    assert "not as long as its header says" in house.refused("add", str(file), *NEW)


def test_a_pickled_detector_is_taken_where_it_is_allowed(house: House) -> None:
    file = house.elsewhere / "hand_yolov8n.pt"
    file.write_bytes(b"PK")
    wish = ("add", str(file), "--name", file.name, "--kind", "DETECTOR")

    assert "--allow-pickle" in house.refused(*wish)
    house.run(*wish, "--allow-pickle")

    assert house.entries()[2]["kind"] == "DETECTOR" and "family" not in house.entries()[2]


@pytest.mark.parametrize("name", ["ControlNetHED.pth", "people"])
def test_a_pickled_preprocessor_is_taken_where_it_is_allowed(house: House, name: str) -> None:
    source = house.elsewhere / name
    file = source if source.suffix else source / "body_pose_model.pth"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"PK")
    wish = ("add", str(source), "--name", "looks", "--kind", "PREPROCESSOR")

    assert "--allow-pickle" in house.refused(*wish)
    house.run(*wish, "--allow-pickle")

    assert house.entries()[2]["sha256"] == hashlib.sha256(b"PK").hexdigest()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--name", "OLD", "--family", "SD15"), "the catalogue gives the name 'old' to both"),
        (("--name", "new", "--family", "SD15", "--id", "8"), "the catalogue gives the id 8 to both"),
        (("--name", "new", "--family", "SD15", "--id", "x"), "id must be a number"),
        (("--name", "new"), "needs --family"),
        (("--name", "new", "--family", "SD15", "--sha256", "1" * 64), "has the sha256"),
    ],
)
def test_an_entry_that_does_not_fit_changes_nothing(house: House, more: tuple[str, ...], words: str) -> None:
    told = house.refused("add", str(house.elsewhere / "new.safetensors"), *more)

    assert words in told.replace("'OLD'", "'old'"), told


def test_a_file_of_the_same_name_is_not_written_over(house: House) -> None:
    save_file({"w": torch.ones(1)}, house.elsewhere / "old.safetensors")

    assert "exists already" in house.refused("add", str(house.elsewhere / "old.safetensors"), *NEW)


def test_a_model_goes_and_its_neighbours_stay_as_they_were(house: House) -> None:
    house.run("add", str(house.elsewhere / "new.safetensors"), *NEW)

    house.run("remove", "Old", "--delete-files")

    assert [entry["name"] for entry in house.entries()] == ["night", 'the "new" one']
    text = house.catalogue.read_text()
    assert '# About the night: see its card.\n[[model]]\nid = "8"' in text
    assert "old" not in text and text.startswith("# The models of this house.")
    assert not (house.models / "old.safetensors").exists()


def test_weights_stay_without_being_told_and_where_others_use_them(house: House) -> None:
    house.run("remove", "8")
    assert (house.models / "night.safetensors").exists()

    house.run("add", str(house.models / "night.safetensors"), "--name", "one", "--kind", "LORA", "--family", "SD15")
    house.run("add", str(house.models / "night.safetensors"), "--name", "two", "--kind", "LORA", "--family", "SD15")
    assert "left" in house.run("remove", "one", "--delete-files")
    assert "deleted" in house.run("remove", "two", "--delete-files")


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nobody", "no model has the id, name or alias 'nobody'; `darkroom models list`"),
        ("7", "names no model that can be the default"),
    ],
)
def test_what_cannot_go_is_told_and_stays(house: House, model: str, words: str) -> None:
    assert words in house.refused("remove", model, "--delete-files")
