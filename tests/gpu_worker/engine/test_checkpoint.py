import json
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gpu_worker.engine.architectures import ARCHITECTURES
from gpu_worker.engine.checkpoint import Checkpoint, latent_space_of, load_checkpoint
from gpu_worker.engine.device import CPU
from jobs.catalog import Family, Model
from jobs.errors import FatalFailure


def model_at(path: Path, *, family: Family = Family.SD15, config_path: Path | None = None) -> Model:
    return Model(id="m1", name="one", family=family, path=path, config_path=config_path)


def original_layout(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    """The weights under the names, and in the shapes, of CompVis' Stable Diffusion 1."""
    weights = {}
    for name, tensor in checkpoint.denoiser.state_dict().items():
        weights[f"model.diffusion_model.{_unet_name(name)}"] = tensor
    for name, tensor in checkpoint.vae.state_dict().items():
        renamed = _vae_name(name)
        is_linear_in_attention = ".attn_1." in renamed and tensor.ndim == 2
        # There the attention's projections are 1 x 1 convolutions.
        weights[f"first_stage_model.{renamed}"] = tensor[..., None, None] if is_linear_in_attention else tensor
    for name, tensor in checkpoint.text_encoders[0].state_dict().items():
        weights[f"cond_stage_model.transformer.text_model.{name.removeprefix('text_model.')}"] = tensor
    return {name: tensor.contiguous() for name, tensor in weights.items()}


def _replaced(name: str, pairs: list[tuple[str, str]]) -> str:
    for ours, theirs in pairs:
        name = name.replace(ours, theirs)
    return name


_UNET_STEM = [
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
]
_UNET_RESNET = [
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("time_emb_proj.", "emb_layers.1."),
    ("conv_shortcut.", "skip_connection."),
]


def _unet_name(name: str) -> str:
    kind, *rest = name.split(".")
    if kind not in ("down_blocks", "mid_block", "up_blocks"):
        return _replaced(name, _UNET_STEM)
    if kind == "mid_block":
        part, index, *tail = rest
        return _unet_tail(f"middle_block.{1 if part == 'attentions' else 2 * int(index)}", part, tail)
    block, part, index, *tail = rest
    if kind == "down_blocks":
        # A block is two layers and what halves the size; before them all stands conv_in.
        number = 3 * int(block) + (3 if part == "downsamplers" else int(index) + 1)
        return _unet_tail(f"input_blocks.{number}.{1 if part == 'attentions' else 0}", part, tail)
    number = 3 * int(block) + (2 if part == "upsamplers" else int(index))
    # The first block up has no attention, so its upsampler comes second there, third elsewhere.
    place = {"resnets": 0, "attentions": 1, "upsamplers": 1 if block == "0" else 2}[part]
    return _unet_tail(f"output_blocks.{number}.{place}", part, tail)


def _unet_tail(place: str, part: str, tail: list[str]) -> str:
    rest = ".".join(tail)
    if part == "resnets":
        rest = _replaced(rest, _UNET_RESNET)
    if part == "downsamplers":
        rest = rest.replace("conv.", "op.")
    return f"{place}.{rest}"


def _vae_name(name: str) -> str:
    pairs = [
        ("conv_shortcut.", "nin_shortcut."),
        ("conv_norm_out.", "norm_out."),
        ("mid_block.attentions.0.", "mid.attn_1."),
    ]
    for index in range(4):
        pairs += [
            (f"encoder.down_blocks.{index}.resnets.", f"encoder.down.{index}.block."),
            (f"down_blocks.{index}.downsamplers.0.", f"down.{index}.downsample."),
            (f"decoder.up_blocks.{index}.resnets.", f"decoder.up.{3 - index}.block."),
            (f"up_blocks.{index}.upsamplers.0.", f"up.{3 - index}.upsample."),
            (f"mid_block.resnets.{index}.", f"mid.block_{index + 1}."),
        ]
    renamed = _replaced(name, pairs)
    if ".attn_1." not in renamed:
        return renamed
    return _replaced(
        renamed,
        [("group_norm.", "norm."), ("to_q.", "q."), ("to_k.", "k."), ("to_v.", "v."), ("to_out.0.", "proj_out.")],
    )


@pytest.fixture(scope="module")
def single_file(engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("single") / "model.safetensors"
    save_file(original_layout(engine.load("sd15")), path)
    return path


def test_the_families_that_a_catalogue_may_name_are_those_that_can_be_loaded() -> None:
    assert ARCHITECTURES.keys() == set(Family) - {Family.ANY}


def test_a_single_file_draws_what_its_folder_draws(
    engine: Any, draw: Any, folders: dict[str, Path], single_file: Path
) -> None:
    folder = engine.load("sd15")

    loaded = load_checkpoint(model_at(single_file, config_path=folders["sd15"]), CPU)

    assert torch.equal(draw(loaded), draw(folder))
    assert engine.decode(loaded, draw(loaded))[0].tobytes() == engine.decode(folder, draw(folder))[0].tobytes()


def test_a_single_file_without_a_config_says_what_it_needs(single_file: Path) -> None:
    with pytest.raises(FatalFailure, match=r"model m1: .*model\.safetensors: a single file needs config_path"):
        load_checkpoint(model_at(single_file), CPU)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    path.write_bytes(b"pickle")

    with pytest.raises(FatalFailure, match=r"not a \.safetensors file"):
        load_checkpoint(model_at(path), CPU)


def test_pickles_in_a_folder_are_not_read(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = shutil.copytree(folders["sd15"], tmp_path / "model")
    (copy / "unet/diffusion_pytorch_model.safetensors").unlink()
    (copy / "unet/diffusion_pytorch_model.bin").write_bytes(b"pickle")

    with pytest.raises(FatalFailure, match="model m1: cannot load"):
        load_checkpoint(model_at(copy), CPU)


@pytest.mark.parametrize(
    "part",
    [
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.safetensors",
        "text_encoder/model.safetensors",
    ],
)
def test_damaged_weights_are_a_fatal_failure(folders: dict[str, Path], tmp_path: Path, part: str) -> None:
    copy = shutil.copytree(folders["sd15"], tmp_path / "model")
    whole = (copy / part).read_bytes()
    (copy / part).write_bytes(whole[: len(whole) // 2])

    with pytest.raises(FatalFailure, match=f"model m1: cannot load {copy}"):
        load_checkpoint(model_at(copy), CPU)


def test_a_damaged_single_file_is_a_fatal_failure(folders: dict[str, Path], single_file: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "half.safetensors"
    damaged.write_bytes(single_file.read_bytes()[:5000])

    with pytest.raises(FatalFailure, match=f"model m1: cannot load {damaged}"):
        load_checkpoint(model_at(damaged, config_path=folders["sd15"]), CPU)


def test_missing_and_empty_folders_are_fatal_failures(tmp_path: Path) -> None:
    with pytest.raises(FatalFailure, match="does not exist"):
        load_checkpoint(model_at(tmp_path / "nothing"), CPU)
    with pytest.raises(FatalFailure, match=r"model_index\.json does not exist"):
        load_checkpoint(model_at(tmp_path), CPU)


@pytest.mark.parametrize(("model", "family"), [("sd15", Family.SDXL), ("sdxl", Family.SD15)])
def test_a_folder_of_another_family_is_a_fatal_failure(folders: dict[str, Path], model: str, family: Family) -> None:
    with pytest.raises(FatalFailure, match=f"but the catalogue says {family}"):
        load_checkpoint(model_at(folders[model], family=family), CPU)


def test_a_folder_of_another_kind_is_a_fatal_failure(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))

    with pytest.raises(FatalFailure, match="holds a FluxPipeline"):
        load_checkpoint(model_at(tmp_path), CPU)


@pytest.mark.parametrize(("model", "channels", "factor"), [("tiny", 8, 16), ("sd15", 4, 8), ("sdxl", 4, 8)])
def test_the_latent_space_is_read_from_the_vae(engine: Any, model: str, channels: int, factor: int) -> None:
    space = engine.load(model).latent_space

    assert (space.channels, space.factor) == (channels, factor)


def test_published_statistics_of_latents_are_undone_before_decoding(engine: Any) -> None:
    config = engine.load("sd15").vae.config
    statistics = {"latents_mean": [1.0, 2.0, 3.0, 4.0], "latents_std": [2.0, 2.0, 2.0, 2.0], "scaling_factor": 0.5}
    space = latent_space_of(type(config)(dict(config) | statistics))
    latents = torch.randn(1, 4, 2, 2)

    # 2 / 0.5 times, plus the channel's mean
    expected = 4 * latents + torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 4, 1, 1)
    torch.testing.assert_close(space.to_vae(latents), expected)
    torch.testing.assert_close(space.from_vae(space.to_vae(latents)), latents)


def test_files_are_left_as_they_were(folders: dict[str, Path]) -> None:
    index = folders["sd15"] / "model_index.json"
    before = (index.read_bytes(), stat.S_IMODE(index.stat().st_mode))

    load_checkpoint(model_at(folders["sd15"]), CPU)

    assert (index.read_bytes(), stat.S_IMODE(index.stat().st_mode)) == before
