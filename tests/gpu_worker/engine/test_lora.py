"""LoRAs of every form that is read, merged as one would by hand."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.lora_file import Change
from gpu_worker.engine.lora_names import unet_layer
from gpu_worker.engine.lora_places import place_in_unet
from jobs.attachments import Lora
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from tests.gpu_worker.engine.conftest import FAMILIES

ATTENTION = "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q"
CONVOLUTION = "up_blocks.1.resnets.0.conv1"
IN_TEXT = "encoder.layers.0.mlp.fc1"
RANK = 2


@pytest.fixture(scope="session")
def engine(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiffusersEngine]:
    """With the LoRAs "one" and "two", and "xl" for another family; their files are written by the tests."""
    models = [Model(id=id, name=id.upper(), family=FAMILIES[id], path=path) for id, path in folders.items()]
    folder = tmp_path_factory.mktemp("loras")
    for name in ("one", "two", "damaged"):
        path = folder / f"{name}.safetensors"
        models.append(Model(id=name, name=name, kind=Kind.LORA, family=Family.SD15, path=path))
    yield DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


@pytest.fixture
def checkpoint(engine: DiffusersEngine) -> Iterator[Any]:
    loaded = engine.load("sd15")
    yield loaded
    engine.load("sd15")
    # The next test may write another file of this name.
    loaded.loras.set([], dict)


def layer(network: Any, name: str) -> Any:
    return network.get_submodule(name)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) / 4


def write(engine: DiffusersEngine, name: str, weights: dict[str, Tensor]) -> None:
    save_file({key: value.contiguous() for key, value in weights.items()}, engine._catalog.get(name).path)


def kohya(checkpoint: Any, *names: str, alpha: float = 1.0, seed: int = 0) -> dict[str, Tensor]:
    """A plain LoRA of these layers of the denoiser."""
    weights: dict[str, Tensor] = {}
    for number, name in enumerate(names):
        shape = layer(checkpoint.denoiser, name).weight.shape
        key = f"lora_unet_{name.replace('.', '_')}"
        weights[f"{key}.lora_down.weight"] = random(RANK, *shape[1:], seed=seed + number)
        weights[f"{key}.lora_up.weight"] = random(shape[0], RANK, *[1] * (len(shape) - 2), seed=seed + number + 50)
        weights[f"{key}.alpha"] = torch.tensor(alpha)
    return weights


def by_hand(weights: dict[str, Tensor], name: str, alpha: float = 1.0) -> Tensor:
    key = f"lora_unet_{name.replace('.', '_')}"
    up, down = weights[f"{key}.lora_up.weight"], weights[f"{key}.lora_down.weight"]
    return alpha / RANK * torch.einsum("or,r...->o...", up.flatten(1), down)


@pytest.mark.parametrize("name", [ATTENTION, CONVOLUTION])
def test_a_lora_is_added_as_by_hand_and_taken_out_to_the_bit(
    engine: DiffusersEngine, checkpoint: Any, name: str
) -> None:
    weights = kohya(checkpoint, name, alpha=4.0)
    write(engine, "one", weights)
    weight = layer(checkpoint.denoiser, name).weight
    before = weight.clone()

    engine.load("sd15", [Lora(model="one", weight=0.7)])
    merged = weight.clone()
    engine.load("sd15")

    torch.testing.assert_close(merged, before + 0.7 * by_hand(weights, name, 4.0), atol=1e-6, rtol=0)
    assert torch.equal(weight, before)


def test_several_loras_add_up_and_one_may_be_swapped(engine: DiffusersEngine, checkpoint: Any) -> None:
    one, two = (kohya(checkpoint, ATTENTION, seed=seed) for seed in (1, 2))
    write(engine, "one", one)
    write(engine, "two", two)
    weight = layer(checkpoint.denoiser, ATTENTION).weight
    before = weight.clone()

    engine.load("sd15", [Lora(model="one"), Lora(model="two", weight=-0.5)])
    both = weight.clone()
    engine.load("sd15", [Lora(model="two")])

    expected = before + by_hand(one, ATTENTION) - 0.5 * by_hand(two, ATTENTION)
    torch.testing.assert_close(both, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(weight, before + by_hand(two, ATTENTION), atol=1e-6, rtol=0)


@pytest.mark.parametrize("prefix", ["lora_te_text_model_", "lora_te_", "lora_te1_text_model_"])
def test_the_text_encoder_may_change_too(engine: DiffusersEngine, checkpoint: Any, prefix: str) -> None:
    (encoder,) = checkpoint.text_encoders
    weight = layer(encoder, IN_TEXT).weight
    up, down = random(weight.shape[0], RANK), random(RANK, weight.shape[1], seed=9)
    key = f"{prefix}{IN_TEXT.replace('.', '_')}"
    write(engine, "one", {f"{key}.lora_up.weight": up, f"{key}.lora_down.weight": down})
    before = weight.clone()

    engine.load("sd15", [Lora(model="one")])

    torch.testing.assert_close(weight, before + up @ down, atol=1e-6, rtol=0)


def test_the_weight_0_draws_what_no_lora_draws(engine: DiffusersEngine, checkpoint: Any, draw: Any) -> None:
    write(engine, "one", kohya(checkpoint, ATTENTION, CONVOLUTION))

    def drawn(*loras: Lora) -> Tensor:
        return draw(engine.load("sd15", loras))

    plain = drawn()
    assert torch.equal(drawn(Lora(model="one", weight=0.0)), plain)
    assert not torch.allclose(drawn(Lora(model="one")), plain, atol=1e-3)
    assert torch.equal(drawn(), plain)


def test_block_weights_choose_blocks(engine: DiffusersEngine, checkpoint: Any) -> None:
    weights = kohya(checkpoint, ATTENTION, CONVOLUTION)
    write(engine, "one", weights)
    inwards, outwards = layer(checkpoint.denoiser, ATTENTION).weight, layer(checkpoint.denoiser, CONVOLUTION).weight
    before = outwards.clone(), inwards.clone()

    # IN04 is the attention, OUT03 the convolution.
    blocks = ",".join(["1", *"0" * 12, "1", "0", "0", "0", "0.5", *"0" * 8])
    engine.load("sd15", [Lora(model="one", weight=9.0, block_weight=f"2:lbw={blocks}")])

    torch.testing.assert_close(outwards, before[0] + 2 * 0.5 * by_hand(weights, CONVOLUTION), atol=1e-6, rtol=0)
    assert torch.equal(inwards, before[1])


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("lora_unet_down_blocks_0_attentions_0_proj_in", "IN01"),
        ("lora_unet_down_blocks_2_attentions_1_proj_in", "IN08"),
        ("lora_unet_down_blocks_0_downsamplers_0_conv", "IN03"),
        ("lora_unet_mid_block_attentions_0_proj_in", "MID"),
        ("lora_unet_up_blocks_1_attentions_0_proj_in", "OUT03"),
        ("lora_unet_up_blocks_3_attentions_2_proj_in", "OUT11"),
        ("lora_unet_up_blocks_0_upsamplers_0_conv", "OUT02"),
        ("lora_unet_time_embedding_linear_1", "BASE"),
        ("lora_te_text_model_encoder_layers_0_mlp_fc1", "BASE"),
    ],
)
def test_layers_have_their_places_in_block_weights(name: str, place: str) -> None:
    assert place_in_unet(name, layers_per_block=2) == place


@pytest.mark.parametrize(
    ("original", "ours"),
    [
        ("input_blocks_0_0", "conv_in"),
        ("input_blocks_1_0_in_layers_2", "down_blocks_0_resnets_0_conv1"),
        ("input_blocks_3_0_op", "down_blocks_0_downsamplers_0_conv"),
        (
            "input_blocks_4_1_transformer_blocks_0_attn1_to_q",
            "down_blocks_1_attentions_0_transformer_blocks_0_attn1_to_q",
        ),
        ("input_blocks_8_1_proj_in", "down_blocks_2_attentions_1_proj_in"),
        ("middle_block_0_emb_layers_1", "mid_block_resnets_0_time_emb_proj"),
        ("middle_block_1_proj_out", "mid_block_attentions_0_proj_out"),
        ("middle_block_2_out_layers_3", "mid_block_resnets_1_conv2"),
        ("output_blocks_0_1_proj_in", "up_blocks_0_attentions_0_proj_in"),
        ("output_blocks_2_2_conv", "up_blocks_0_upsamplers_0_conv"),
        ("output_blocks_5_0_skip_connection", "up_blocks_1_resnets_2_conv_shortcut"),
    ],
)
def test_names_of_the_original_layout_are_read(original: str, ours: str) -> None:
    assert unet_layer(f"lora_unet_{original}", layers_per_block=2) == f"lora_unet_{ours}"


def test_pefts_names_are_read(engine: DiffusersEngine, checkpoint: Any) -> None:
    weight = layer(checkpoint.denoiser, ATTENTION).weight
    up, down = random(weight.shape[0], RANK), random(RANK, weight.shape[1], seed=9)
    write(engine, "one", {f"unet.{ATTENTION}.lora_A.weight": down, f"unet.{ATTENTION}.lora_B.weight": up})
    before = weight.clone()

    engine.load("sd15", [Lora(model="one")])

    torch.testing.assert_close(weight, before + up @ down, atol=1e-6, rtol=0)


def test_a_locons_convolutions_one_after_the_other_are_one() -> None:
    down, mid, up = random(3, 4, 1, 1), random(3, 3, 3, 3, seed=1), random(5, 3, 1, 1, seed=2)
    picture = random(1, 4, 8, 8, seed=3)

    change = Change({"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up}).to(
        torch.zeros(5, 4, 3, 3)
    )

    functional = nn.functional
    expected = functional.conv2d(functional.conv2d(functional.conv2d(picture, down), mid, padding=1), up)
    torch.testing.assert_close(functional.conv2d(picture, change, padding=1), expected)


def test_a_loha_is_a_product_of_two_products() -> None:
    parts = {f"hada_w{i}_{x}": random(*((6, RANK) if x == "a" else (RANK, 4)), seed=i) for i in (1, 2) for x in "ab"}

    change = Change(parts | {"alpha": torch.tensor(1.0)}).to(torch.zeros(6, 4))

    for row, column in ((0, 0), (5, 3)):
        one, two = (parts[f"hada_w{i}_a"][row] @ parts[f"hada_w{i}_b"][:, column] for i in (1, 2))
        torch.testing.assert_close(change[row, column], one * two / RANK)


@pytest.mark.parametrize("is_decomposed", [True, False])
def test_a_lokr_is_a_kronecker_product(is_decomposed: bool) -> None:
    small, a, b = random(2, 2), random(3, RANK, seed=1), random(RANK, 2, seed=2)
    large = {"lokr_w2_a": a, "lokr_w2_b": b} if is_decomposed else {"lokr_w2": a @ b}

    change = Change({"lokr_w1": small, "alpha": torch.tensor(1.0), **large}).to(torch.zeros(6, 4))

    scale = 1 / RANK if is_decomposed else 1.0
    for row, column in ((0, 0), (2, 3), (5, 1)):
        expected = scale * small[row // 3, column // 2] * (a @ b)[row % 3, column % 2]
        torch.testing.assert_close(change[row, column], expected)


def test_what_does_not_fit_is_refused_by_name_and_changes_nothing(
    engine: DiffusersEngine, checkpoint: Any, draw: Any
) -> None:
    plain = draw(checkpoint)
    fitting, strange = kohya(checkpoint, ATTENTION), {"lora_unet_nowhere.lora_up.weight": random(2, 2)}
    wide = {name: value.repeat(1, 2) if "down" in name else value for name, value in fitting.items()}
    dora = fitting | {"lora_unet_nowhere.dora_scale": random(2)}
    bare = {f"lora_unet_{ATTENTION.replace('.', '_')}.lora_up.weight": random(2, 2)}
    for weights in (strange, wide, dora, bare, {"alpha": random(1)}):
        write(engine, "one", fitting)
        write(engine, "two", weights)
        with pytest.raises(FatalFailure, match="LoRA two"):
            engine.load("sd15", [Lora(model="one"), Lora(model="two")])
        assert torch.equal(draw(checkpoint), plain)


def test_a_damaged_file_and_an_unknown_model_are_refused(engine: DiffusersEngine) -> None:
    engine._catalog.get("damaged").path.write_bytes(b"no safetensors")

    for name in ("damaged", "absent"):
        with pytest.raises(FatalFailure, match=name):
            engine.load("sd15", [Lora(model=name)])


def test_originals_count_among_what_a_checkpoint_holds(engine: DiffusersEngine, checkpoint: Any) -> None:
    write(engine, "one", kohya(checkpoint, ATTENTION))
    before = checkpoint.size_bytes

    engine.load("sd15", [Lora(model="one")])

    assert checkpoint.size_bytes == before + layer(checkpoint.denoiser, ATTENTION).weight.nbytes


def test_a_checkpoints_loras_are_its_own(engine: DiffusersEngine, checkpoint: Any) -> None:
    write(engine, "one", kohya(checkpoint, ATTENTION))
    other = engine.load("sdxl")
    weights = [each.clone() for each in other.denoiser.parameters()]

    engine.load("sd15", [Lora(model="one")])

    assert all(torch.equal(*pair) for pair in zip(weights, other.denoiser.parameters(), strict=True))


def test_a_device_too_small_to_merge_it_is_not_its_own_fault(
    engine: DiffusersEngine, checkpoint: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacks(_change: Change, _weight: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    write(engine, "one", kohya(checkpoint, ATTENTION))
    monkeypatch.setattr(Change, "to", lacks)

    with pytest.raises(FatalFailure, match="out of memory while loading model sd15"):
        engine.load("sd15", [Lora(model="one")])


def test_what_merging_took_is_told_of_loras_that_are_not_merged_now(engine: DiffusersEngine, checkpoint: Any) -> None:
    for seed, name in enumerate(("one", "two")):
        write(engine, name, kohya(checkpoint, ATTENTION, seed=seed))

    engine.load("sd15", [Lora(model="one")])
    first = engine.loading_s()
    engine.load("sd15", [Lora(model="two")])
    second = engine.loading_s()

    assert first["one"] == 0
    assert second["one"] > 0 and second["two"] == 0
    engine.load("sd15")
    assert engine.loading_s()["two"] > 0
