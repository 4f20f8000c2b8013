"""LoRAs of SD 3 and FLUX in every layout: against merging by hand, diffusers' conversions and its loader."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from safetensors.torch import save_file
from torch import Tensor

from benchmarks.flow_drawing import (
    LAYERS,
    RANK,
    drawn,
    factors,
    in_diffusers,
    of_layers,
    random,
    reference,
    stock_pipeline,
)
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.engine.lora_file import read_changes
from gpu_worker.engine.lora_names import of_flux
from gpu_worker.engine.lora_places import place_in_flux
from jobs.attachments import Lora
from jobs.block_weights import read_block_weights
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.errors import FatalFailure
from tests.gpu_worker.engine.conftest import FAMILIES
from tests.gpu_worker.engine.test_against_diffusers import difference

ALPHA, WEIGHT = 3.0, 0.7
SHAPES = dict(zip(LAYERS["flux-dev"], ((32, 32), (128, 32), (32, 64)), strict=True))
DOUBLE = "lora_unet_double_blocks_0_img_attn_qkv"
Write = Callable[..., Path]


@pytest.fixture(scope="session")
def engine(
    folders: dict[str, Path], flow_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> DiffusersEngine:
    """With LoRAs "one" and "two" for each family, whose files the tests write."""
    models = [
        Model(id=id, name=id.upper(), family=Family(id.partition("-")[0].upper()), path=path)
        for id, path in flow_folders.items()
    ]
    models += [Model(id=id, name=id.upper(), family=FAMILIES[id], path=path) for id, path in folders.items()]
    root = tmp_path_factory.mktemp("loras")
    for name in ("one", "two"):
        path = root / f"{name}.safetensors"
        models.append(Model(id=name, name=name, kind=Kind.LORA, family=Family.FLUX, path=path))
    return DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


@pytest.fixture(params=["sd3", "flux-dev"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def load(engine: DiffusersEngine) -> Iterator[Callable[..., Any]]:
    """A checkpoint with LoRAs of this weight; afterwards none has any."""

    def load(name: str, *loras: str, weight: float = WEIGHT, **more: Any) -> Any:
        return engine.load(name, [Lora(model=lora, weight=weight, **more) for lora in loras])

    yield load
    for name in ("sd3", "flux-dev"):
        engine.load(name)


@pytest.fixture
def write(engine: DiffusersEngine) -> Write:
    def write(tensors: dict[str, Tensor], lora: str = "one", **notes: str) -> Path:
        path: Path = engine._catalog.get(lora).path
        save_file({name: each.contiguous() for name, each in tensors.items()}, path, notes)
        return path

    return write


def pictures(engine: Any, checkpoint: Any, pipeline: Any) -> tuple[Any, Any]:
    """Ours of what is loaded now, and that of the stock pipeline."""
    return drawn(engine, checkpoint), reference(pipeline)


def test_a_lora_in_diffusers_names_draws_what_merging_by_hand_draws(
    engine: Any, flow_folders: dict[str, Path], load: Any, write: Write, name: str
) -> None:
    pipeline = stock_pipeline(flow_folders[name])
    parts = of_layers(pipeline.transformer, LAYERS[name])
    in_text = {"encoder.layers.0.mlp.fc1": factors(64, 32, seed=70)}
    write(in_diffusers(parts) | in_diffusers(in_text, "text_encoder.text_model."))
    plain, _ = pictures(engine, load(name), pipeline)
    for network, changed in ((pipeline.transformer, parts), (pipeline.text_encoder, in_text)):
        for layer, (down, up) in changed.items():
            weight = layer_of(network, layer).weight
            weight.data += WEIGHT * (up @ down).reshape(weight.shape)

    ours, theirs = pictures(engine, load(name, "one"), pipeline)

    assert difference(ours, theirs) <= 1
    assert difference(ours, plain) > 8


def layer_of(network: Any, name: str) -> Any:
    return getattr(network, "text_model", network).get_submodule(name)


def kohya_of_flux(seed: int = 0) -> dict[str, Tensor]:
    """Of every layer that a tiny model has at its own width: diffusers' conversion knows the published one of the
    single blocks only."""
    shapes = {
        DOUBLE: (96, 32),
        "lora_unet_double_blocks_0_txt_attn_qkv": (96, 32),
        "lora_unet_double_blocks_0_img_attn_proj": (32, 32),
        "lora_unet_double_blocks_0_txt_attn_proj": (32, 32),
        "lora_unet_double_blocks_0_img_mlp_0": (128, 32),
        "lora_unet_double_blocks_0_txt_mlp_2": (32, 128),
        "lora_unet_double_blocks_0_img_mod_lin": (192, 32),
        "lora_unet_single_blocks_0_linear2": (32, 160),
        "lora_unet_single_blocks_0_modulation_lin": (96, 32),
        "lora_te1_text_model_encoder_layers_0_self_attn_q_proj": (32, 32),
        "lora_te1_text_model_encoder_layers_1_mlp_fc2": (32, 64),
    }
    return kohya(shapes, seed)


def kohya(shapes: dict[str, tuple[int, int]], seed: int = 0) -> dict[str, Tensor]:
    tensors = {}
    for i, (layer, shape) in enumerate(shapes.items()):
        down, up = factors(*shape, seed=seed + i)
        tensors |= {f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up}
        tensors[f"{layer}.alpha"] = torch.tensor(ALPHA)
    return tensors


@pytest.mark.parametrize(("name", "layout"), [("sd3", "diffusers"), ("flux-dev", "diffusers"), ("flux-dev", "kohya")])
def test_a_lora_draws_what_diffusers_loader_draws(
    engine: Any, flow_folders: dict[str, Path], load: Any, write: Write, name: str, layout: str
) -> None:
    """Where peft is installed, which is no part of this project. Of SD 3, diffusers reads no names of kohya's."""
    pytest.importorskip("peft")
    pipeline = stock_pipeline(flow_folders[name])
    inner = tuple(layer for layer in LAYERS[name] if "." in layer)
    parts = of_layers(pipeline.transformer, inner)
    # diffusers 0.42 with transformers 5 passes over the attention of text encoders.
    kohyas = {name: each for name, each in kohya_of_flux().items() if "self_attn" not in name}
    path = write(in_diffusers(parts) if layout == "diffusers" else kohyas)
    plain, _ = pictures(engine, load(name), pipeline)
    pipeline.load_lora_weights(path.parent, weight_name=path.name, adapter_name="ink")
    pipeline.set_adapters("ink", WEIGHT)

    ours, theirs = pictures(engine, load(name, "one"), pipeline)

    assert difference(ours, theirs) <= 1
    assert difference(ours, plain) > 8


def test_kohyas_layers_of_flux_are_parts_of_the_original_ones(engine: Any, load: Any, write: Write) -> None:
    tensors = kohya_of_flux()
    write(tensors)
    checkpoint = load("flux-dev")
    attention = checkpoint.denoiser.transformer_blocks[0].attn
    before = [getattr(attention, part).weight.clone() for part in ("to_q", "to_k", "to_v")]

    load("flux-dev", "one")

    after = [getattr(attention, part).weight for part in ("to_q", "to_k", "to_v")]
    change = WEIGHT * ALPHA / RANK * tensors[f"{DOUBLE}.lora_up.weight"] @ tensors[f"{DOUBLE}.lora_down.weight"]
    torch.testing.assert_close(torch.cat(after) - torch.cat(before), change, atol=1e-5, rtol=0)


def test_single_blocks_of_the_published_width_are_parted(engine: Any, write: Write) -> None:
    write(tensors := kohya({"lora_unet_single_blocks_7_linear1": (21504, 3072)}))

    changes = read_changes(engine._catalog.get("one"), of_flux)

    names = [f"lora_unet_single_transformer_blocks_7_{each}" for each in ("attn_to_q", "attn_to_k", "attn_to_v")]
    names.append("lora_unet_single_transformer_blocks_7_proj_mlp")
    assert sorted(changes) == sorted(names)
    rows = torch.cat([changes[each].to(torch.zeros(12288 if "mlp" in each else 3072, 3072))[::64] for each in names])
    up, down = (tensors[f"lora_unet_single_blocks_7_linear1.lora_{each}.weight"] for each in ("up", "down"))
    torch.testing.assert_close(rows, ALPHA / RANK * up[::64] @ down, atol=1e-5, rtol=0)


def test_the_last_layer_is_scaled_as_all_others(engine: Any, write: Write) -> None:
    write(tensors := kohya({"lora_unet_final_layer_adaLN_modulation_1": (64, 32)}))

    (change,) = read_changes(engine._catalog.get("one"), of_flux).values()

    up, down = (tensors[f"lora_unet_final_layer_adaLN_modulation_1.lora_{each}.weight"] for each in ("up", "down"))
    shift, scale = (ALPHA / RANK * up @ down).chunk(2)
    torch.testing.assert_close(change.to(torch.zeros(64, 32)), torch.cat([scale, shift]))


@pytest.mark.parametrize(
    "rewrite",
    [
        # ComfyUI
        lambda name: name.replace("lora_unet_double_blocks_0_img_attn_", "diffusion_model.double_blocks.0.img_attn."),
        # a PEFT network of the original layers, such as fal's
        lambda name: (
            name.replace("lora_unet_double_blocks_0_img_attn_", "base_model.model.double_blocks.0.img_attn.")
            .replace("lora_down", "lora_A")
            .replace("lora_up", "lora_B")
        ),
    ],
)
def test_other_names_of_the_original_layers_mean_the_same(
    engine: Any, write: Write, rewrite: Callable[[str], str]
) -> None:
    kohyas = kohya({DOUBLE: (96, 32)})
    write(kohyas)
    expected = read_changes(engine._catalog.get("one"), of_flux)
    write({rewrite(name): tensor for name, tensor in kohyas.items()}, "two")

    found = read_changes(engine._catalog.get("two"), of_flux)

    assert found.keys() == expected.keys()
    for layer, change in found.items():
        weight = torch.zeros(32, 32)
        torch.testing.assert_close(change.to(weight), expected[layer].to(weight))


@pytest.mark.parametrize(
    ("layer", "factor"),
    [
        ("transformer.transformer_blocks.0.attn.to_q", "lora_A.weight lora_B.weight"),
        ("transformer_blocks.0.attn.to_q", "lora_A.weight lora_B.weight"),
        ("base_model.model.transformer_blocks.0.attn.to_q", "lora_A.weight lora_B.weight"),
        ("transformer.transformer_blocks.0.attn.to_q", "lora.down.weight lora.up.weight"),
        ("lora_transformer_transformer_blocks_0_attn_to_q", "lora_down.weight lora_up.weight"),  # OneTrainer
        ("lycoris_transformer_blocks_0_attn_to_q", "lora_down.weight lora_up.weight"),  # SimpleTuner
        ("lora_unet_transformer_blocks_0_attn_to_q", "lora_down.weight lora_up.weight"),
    ],
)
def test_diffusers_layers_have_many_names(load: Any, write: Write, name: str, layer: str, factor: str) -> None:
    down, up = factors(32, 32)
    write(dict(zip((f"{layer}.{each}" for each in factor.split()), (down, up), strict=True)))
    weight = load(name).denoiser.transformer_blocks[0].attn.to_q.weight
    before = weight.clone()

    load(name, "one")

    torch.testing.assert_close(weight, before + WEIGHT * up @ down, atol=1e-5, rtol=0)


def test_xlabs_names_are_read(load: Any, write: Write) -> None:
    down, up = factors(96, 32)
    stem = "double_blocks.0.processor.qkv_lora1"
    write({f"{stem}.down.weight": down, f"{stem}.up.weight": up})
    attention = load("flux-dev").denoiser.transformer_blocks[0].attn
    before = attention.to_k.weight.clone()

    load("flux-dev", "one")

    torch.testing.assert_close(attention.to_k.weight, before + WEIGHT * up[32:64] @ down, atol=1e-5, rtol=0)


@pytest.mark.parametrize("prefix", ["lora_te3_", "text_encoders.t5xxl.transformer."])
def test_t5_may_change_too(load: Any, write: Write, name: str, prefix: str) -> None:
    width = 80 if name == "sd3" else 32
    down, up = factors(32, width)
    dot = "_" if prefix.endswith("_") else "."
    layer = prefix + dot.join(["encoder", "block", "0", "layer", "0", "SelfAttention", "q"])
    write({f"{layer}.lora_down.weight": down, f"{layer}.lora_up.weight": up})
    weight = load(name).t5.encoder.encoder.block[0].layer[0].SelfAttention.q.weight
    before = weight.clone()

    load(name, "one")

    torch.testing.assert_close(weight, before + WEIGHT * up @ down, atol=1e-5, rtol=0)


def test_the_scale_beside_the_weights_counts(load: Any, write: Write, name: str) -> None:
    layers = ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.attn.to_k")
    parts = {layer: factors(32, 32, seed=i) for i, layer in enumerate(layers)}
    scales = {
        "transformer.lora_alpha": 6,
        "transformer.r": RANK,
        "transformer.alpha_pattern": {"attn.to_k": 1},
        "transformer.use_rslora": False,
    }
    write(in_diffusers(parts), lora_adapter_metadata=json.dumps(scales))
    weights = [load(name).denoiser.get_submodule(layer).weight for layer in layers]
    before = [weight.clone() for weight in weights]

    load(name, "one")

    for weight, old, (down, up), alpha in zip(weights, before, parts.values(), (6, 1), strict=True):
        torch.testing.assert_close(weight, old + WEIGHT * alpha / RANK * up @ down, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    "note",
    ["no JSON", "[1]", '{"transformer.alpha_pattern": 1}', '{"transformer.lora_alpha": "much"}', '"text"'],
)
def test_scales_that_are_none_are_refused_by_name(load: Any, write: Write, name: str, note: str) -> None:
    write(in_diffusers({"transformer_blocks.0.attn.to_q": factors(32, 32)}), lora_adapter_metadata=note)

    with pytest.raises(FatalFailure, match=r"LoRA one: .* tells of no scale in lora_adapter_metadata"):
        load(name, "one")


def test_xlabs_names_that_are_none_are_refused_by_name(load: Any, write: Write) -> None:
    write({"double_blocks.processor.proj_lora1.down.weight": random(2, 32)})

    with pytest.raises(FatalFailure, match="LoRA one was made for another checkpoint"):
        load("flux-dev", "one")


SD3_BLOCK = {
    "x_block.attn.qkv": (96, 32),
    "x_block.attn.proj": (32, 32),
    "x_block.mlp.fc1": (128, 32),
    "x_block.mlp.fc2": (32, 128),
    "context_block.attn.qkv": (96, 32),
}
SD3_OTHERS = {
    "joint_blocks.0.x_block.attn2.qkv": (96, 32),
    "joint_blocks.0.x_block.attn2.proj": (32, 32),
    "joint_blocks.0.x_block.adaLN_modulation.1": (288, 32),
    "joint_blocks.1.x_block.adaLN_modulation.1": (192, 32),
    "joint_blocks.0.context_block.attn.proj": (32, 32),
    "joint_blocks.0.context_block.mlp.fc1": (128, 32),
    "joint_blocks.0.context_block.mlp.fc2": (32, 128),
    "joint_blocks.0.context_block.adaLN_modulation.1": (192, 32),
    "joint_blocks.1.context_block.adaLN_modulation.1": (64, 32),
    "context_embedder": (32, 80),
    "t_embedder.mlp.0": (32, 256),
    "t_embedder.mlp.2": (32, 32),
    "y_embedder.mlp.0": (32, 64),
    "y_embedder.mlp.2": (32, 32),
    "final_layer.linear": (64, 32),
    "final_layer.adaLN_modulation.1": (64, 32),
}


def test_kohyas_layers_of_sd3_lie_where_diffusers_puts_those_of_a_checkpoint(
    engine: Any, load: Any, write: Write
) -> None:
    """What it adds to a checkpoint of the original layout, diffusers brings to its own: an independent way."""
    shapes = {f"joint_blocks.{i}.{layer}": shape for i in range(2) for layer, shape in SD3_BLOCK.items()} | SD3_OTHERS
    tensors = kohya({f"lora_unet_{layer.replace('.', '_')}": shape for layer, shape in shapes.items()})
    write(tensors)
    added = {}
    for layer, (rows, _) in shapes.items():
        stem = f"lora_unet_{layer.replace('.', '_')}"
        product = tensors[f"{stem}.lora_up.weight"] @ tensors[f"{stem}.lora_down.weight"]
        added |= {f"{layer}.weight": WEIGHT * ALPHA / RANK * product, f"{layer}.bias": torch.zeros(rows)}
    added |= {"pos_embed": torch.zeros(1), "x_embedder.proj.weight": torch.zeros(1), "x_embedder.proj.bias": random(1)}
    expected = convert_sd3_transformer_checkpoint_to_diffusers(added)
    denoiser = load("sd3").denoiser
    before = {name: each.clone() for name, each in denoiser.named_parameters()}

    load("sd3", "one")

    after = dict(denoiser.named_parameters())
    changed = [name for name in expected if name.endswith(".weight") and not name.startswith("pos_embed")]
    assert len(changed) == 36
    for each in changed:
        torch.testing.assert_close(after[each] - before[each], expected[each], atol=1e-5, rtol=0)


def test_several_add_up_and_one_is_swapped_without_loading_the_model_again(
    load: Any, write: Write, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = "transformer_blocks.0.attn.to_q"
    one, two = ({layer: factors(32, 32, seed=seed)} for seed in (1, 2))
    write(in_diffusers(one), "one")
    write(in_diffusers(two), "two")
    checkpoint = load(name)
    weight = checkpoint.denoiser.get_submodule(layer).weight
    before = weight.clone()
    changes = [up @ down for down, up in (one[layer], two[layer])]

    def fails(*_: Any, **__: Any) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr("gpu_worker.engine.engine.load_checkpoint", fails)
    load(name, "one", "two", weight=0.5)
    torch.testing.assert_close(weight, before + 0.5 * (changes[0] + changes[1]), atol=1e-5, rtol=0)
    load(name, "two", weight=-1.0)
    torch.testing.assert_close(weight, before - changes[1], atol=1e-5, rtol=0)
    load(name)
    assert torch.equal(weight, before)


@pytest.mark.parametrize(
    ("lora", "checkpoints"),
    [
        ({"lora_unet_down_blocks_1_attentions_0_proj_in": (32, 32)}, ["sd3", "flux-dev"]),
        ({DOUBLE: (96, 32)}, ["sd3", "sd15", "sdxl"]),
        ({"lora_unet_joint_blocks_0_x_block_attn_qkv": (96, 32)}, ["flux-dev", "sd15"]),
        ({"lora_unet_transformer_blocks_0_attn2_to_q": (32, 32)}, ["flux-dev"]),
        ({"lora_unet_double_blocks_25_img_attn_qkv": (96, 32)}, ["flux-dev"]),
        ({"lora_unet_single_blocks_0_linear1": (224, 32)}, ["flux-dev"]),  # of no published width
        ({DOUBLE: (95, 32)}, ["flux-dev"]),
        ({"lora_unet_joint_blocks_0_x_block_attn_qkv": (48, 32)}, ["sd3"]),
    ],
)
def test_what_was_made_for_another_model_is_refused_by_name_and_changes_nothing(
    load: Any, write: Write, lora: dict[str, Any], checkpoints: list[str]
) -> None:
    write(kohya(lora))

    for name in checkpoints:
        before = [each.clone() for each in load(name).denoiser.parameters()]
        with pytest.raises(FatalFailure, match=r"LoRA one (was made for another checkpoint|does not fit)") as failed:
            load(name, "one")
        assert len(failed.value.message) < 600
        assert all(map(torch.equal, before, load(name).denoiser.parameters()))


@pytest.mark.parametrize(
    ("factor", "form"),
    [
        ("dora_scale", "DoRA"),
        ("lora_magnitude_vector.weight", "DoRA"),
        ("diff_b", "changes of biases"),
        ("lora_B.bias", "changes of biases"),
        ("diff", "whole changes"),
    ],
)
def test_forms_that_are_not_read_are_refused_by_name(
    load: Any, write: Write, name: str, factor: str, form: str
) -> None:
    layer = "transformer.transformer_blocks.0.attn.to_q"
    write(in_diffusers({"transformer_blocks.0.attn.to_q": factors(32, 32)}) | {f"{layer}.{factor}": random(32)})

    with pytest.raises(FatalFailure, match=rf"LoRA one: .* is a .*{form}.*not supported"):
        load(name, "one")


def test_lohas_of_the_original_layout_are_refused_by_name(load: Any, write: Write) -> None:
    stem = "lora_unet_double_blocks_0_img_attn_qkv"
    write({f"{stem}.hada_w1_a": random(96, 2), f"{stem}.hada_w1_b": random(2, 32)})

    with pytest.raises(FatalFailure, match=r"LoRA one .*hada_w1_a.*may be of LoRA only"):
        load("flux-dev", "one")


def test_changes_that_are_none_are_no_fault(load: Any, write: Write, name: str) -> None:
    layer = "transformer_blocks.0.attn.to_q"
    down, up = factors(32, 32)
    write(in_diffusers({layer: (down, up)}) | {f"transformer.{layer}.diff_b": torch.zeros(32)})
    weight = load(name).denoiser.get_submodule(layer).weight
    before = weight.clone()

    load(name, "one")

    torch.testing.assert_close(weight, before + WEIGHT * up @ down, atol=1e-5, rtol=0)


def test_presets_of_unets_are_refused_with_the_reason(load: Any, write: Write, name: str) -> None:
    write(in_diffusers({"transformer_blocks.0.attn.to_q": factors(32, 32)}))

    reasons = {"sd3": "nobody has numbered those of SD3", "flux-dev": "must have 61 weights for a FLUX model"}
    for weights in ("lbw=INS", "0.5:lbw=1" + ",1" * 16):
        with pytest.raises(FatalFailure, match=rf"LoRA one: its block weight .*{reasons[name]}"):
            load(name, "one", block_weight=weights)


def test_weights_of_fluxs_blocks_are_not_for_a_unet(load: Any, write: Write) -> None:
    with pytest.raises(
        FatalFailure, match="LoRA one: its block weight has the 61 weights of FLUX's blocks, for a SD15"
    ):
        load("sd15", "one", block_weight="lbw=1" + ",1" * 60)


def test_block_weights_choose_fluxs_blocks(load: Any, write: Write) -> None:
    layers = LAYERS["flux-dev"]  # D00, S00 and IN
    write(in_diffusers({layer: factors(*SHAPES[layer], seed=i) for i, layer in enumerate(layers)}))
    weights = [load("flux-dev").denoiser.get_submodule(layer).weight for layer in layers]
    before = [weight.clone() for weight in weights]

    # CLIP, T5, IN, 19 double blocks, 38 single ones, OUT
    blocks = [0.0, 0.0, -1.0, 0.5, *[0.0] * 18, 0.0, *[0.0] * 37, 0.0]
    load("flux-dev", "one", block_weight="2:lbw=" + ",".join(map(str, blocks)))

    for i, (layer, share) in enumerate(zip(layers, (0.5, 0.0, -1.0), strict=True)):
        down, up = factors(*SHAPES[layer], seed=i)
        torch.testing.assert_close(weights[i], before[i] + 2 * share * up @ down, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ("lora_te1_encoder_layers_0_mlp_fc1", "CLIP"),
        ("lora_te_encoder_layers_0_mlp_fc1", "CLIP"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "T5"),
        ("lora_te2_encoder_block_0_layer_0_SelfAttention_q", "T5"),
        ("lora_unet_x_embedder", "IN"),
        ("lora_unet_time_text_embed_timestep_embedder_linear_1", "IN"),
        ("lora_unet_transformer_blocks_18_attn_to_q", "D18"),
        ("lora_unet_single_transformer_blocks_3_proj_out", "S03"),
        ("lora_unet_proj_out", "OUT"),
        ("lora_unet_norm_out_linear", "OUT"),
    ],
)
def test_fluxs_layers_have_their_places_in_block_weights(layer: str, place: str) -> None:
    assert place_in_flux(layer) == place
    assert place in read_block_weights("lbw=1" + ",1" * 60).of
