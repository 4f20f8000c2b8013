"""Which file stands for a model, and that another one is refused."""

import hashlib
import os
from pathlib import Path

import pytest

from jobs.catalog import Family, Model
from jobs.weights import Weights, WrongWeights, main_file

CONTENT = b"weights"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


def model_at(path: Path, sha256: str = DIGEST) -> Model:
    return Model(id="7", name="dream", family=Family.SD15, path=path, sha256=sha256)


def put(file: Path, content: bytes = CONTENT) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    ("files", "main"),
    [
        (["unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"], 0),
        (["unet/diffusion_pytorch_model.fp16.safetensors", "model.safetensors"], 0),
        (["unet/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.safetensors"], 1),
        (["config.json", "diffusion_pytorch_model.safetensors"], 1),  # a ControlNet, a VAE, a motion adapter
        (["config.json", "model.safetensors"], 1),  # a tagger
        (["vae/diffusion_pytorch_model.safetensors", "transformer/diffusion_pytorch_model.safetensors"], 1),
        (
            [
                "transformer/diffusion_pytorch_model-00002-of-00002.safetensors",
                "transformer/diffusion_pytorch_model-00001-of-00002.safetensors",
            ],
            1,
        ),
    ],
)
def test_the_largest_network_stands_for_a_folder(tmp_path: Path, files: list[str], main: int) -> None:
    paths = [put(tmp_path / name) for name in files]

    assert main_file(model_at(tmp_path)) == paths[main]


def test_a_file_stands_for_itself(tmp_path: Path) -> None:
    file = put(tmp_path / "dream.safetensors")

    assert main_file(model_at(file)) == file


def test_the_weights_that_are_stated_pass(tmp_path: Path) -> None:
    Weights().check(model_at(put(tmp_path / "dream.safetensors")))


def test_other_weights_are_refused_with_the_file_and_both_digests(tmp_path: Path) -> None:
    file = put(tmp_path / "dream.safetensors", b"others")

    with pytest.raises(WrongWeights) as refused:
        Weights().check(model_at(file))

    assert all(each in refused.value.message for each in (str(file), DIGEST, hashlib.sha256(b"others").hexdigest()))


def test_weights_of_which_nothing_is_stated_are_not_read() -> None:
    Weights().check(model_at(Path("absent"), sha256=""))


@pytest.mark.parametrize(("path", "told"), [("absent", "absent does not exist"), ("", "holds none of unet/")])
def test_missing_weights_are_told(tmp_path: Path, path: str, told: str) -> None:
    with pytest.raises(WrongWeights, match=told):
        Weights().check(model_at(tmp_path / path))


def test_a_file_is_read_again_only_after_it_was_changed(tmp_path: Path) -> None:
    weights, file = Weights(), tmp_path / "dream.safetensors"
    model = model_at(put(file))
    weights.check(model)
    before = file.stat()

    # Other bytes, but the file looks as it was: nobody reads it again.
    put(file, b"WEIGHTS")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    weights.check(model)

    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    with pytest.raises(WrongWeights):
        weights.check(model)
