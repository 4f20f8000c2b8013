"""How the tools name a LoRA's layers and factors. It reads no file, and computes no change.

Here all become kohya's names of diffusers' layers: `lora_unet_…`, with `_` for each dot, and a factor such as
`lora_up.weight`. FLUX's original layout is brought to diffusers' by diffusers itself; for SD 3's it has nothing.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

import torch
from diffusers import FluxPipeline
from torch import Tensor

Tensors: TypeAlias = Mapping[str, Tensor]

# What diffusers' pipelines write of the scale, beside the weights. Source: diffusers, loaders/lora_base.py.
SCALES = "lora_adapter_metadata"
# Longest first: one may begin with another.
_COMPONENTS = {
    "text_encoders.clip_l.transformer": "lora_te1",
    "text_encoders.clip_g.transformer": "lora_te2",
    "text_encoders.t5xxl.transformer": "lora_te3",
    "base_model.model": "lora_unet",
    "diffusion_model": "lora_unet",
    "text_encoder_2": "lora_te2",
    "text_encoder_3": "lora_te3",
    "text_encoder": "lora_te",
    "transformer": "lora_unet",
    "unet": "lora_unet",
    "": "lora_unet",
}
# Of tools that write `_` for each dot too.
_FLAT = {"lora_transformer_": "lora_unet_", "lycoris_": "lora_unet_"}
_FACTOR = re.compile(
    r"(?P<layer>.+?)\.(?P<factor>lora_(?:[AB]|up|down|mid)\.weight|lora\.(?:up|down)\.weight|lora_B\.bias|alpha|diff|diff_b"
    r"|dora_scale|lora_magnitude_vector|(?:hada|lokr)_\w+)(?:\.weight)?"
)
_OF_KOHYA = {
    "lora_A.weight": "lora_down.weight",
    "lora_B.weight": "lora_up.weight",
    "lora.down.weight": "lora_down.weight",
    "lora.up.weight": "lora_up.weight",
}


def scales_in(notes: Mapping[str, str]) -> Mapping[str, Any]:
    """What a file says beside its tensors of their scale. Raises ValueError."""
    scales = json.loads(notes.get(SCALES) or "{}")
    patterns = (
        [each for name, each in scales.items() if name.endswith("alpha_pattern")] if type(scales) is dict else [0]
    )
    if not all(isinstance(each, dict | None) for each in patterns):
        raise ValueError("it is no object of names")
    return dict(scales)


def kohya_named(tensors: Tensors, scales: Mapping[str, Any]) -> dict[str, Tensor]:
    """`scales` is what `scales_in` found. A name of no known form stays. Raises ValueError for a scale that is none."""
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found = _FACTOR.fullmatch(name)
        if found is None:
            named[name] = tensor
            continue
        component, layer = _parted(found["layer"])
        factor = _OF_KOHYA.get(found["factor"], found["factor"])
        flat = f"{_COMPONENTS[component]}_{layer.replace('.', '_')}" if "." in found["layer"] else _flat(layer)
        named[f"{flat}.{factor}"] = tensor
        alpha = _alpha(scales, component, layer, rank=len(tensor)) if factor == "lora_down.weight" else None
        if alpha is not None:
            named.setdefault(f"{flat}.alpha", torch.tensor(alpha))
    return named


def _parted(layer: str) -> tuple[str, str]:
    """Which part of the pipeline it is of, and its name there; one that names no part is of the denoiser."""
    found = next((each for each in _COMPONENTS if each and layer.startswith(f"{each}.")), "")
    return found, layer.removeprefix(f"{found}.") if found else layer


def _flat(layer: str) -> str:
    theirs = next((each for each in _FLAT if layer.startswith(each)), "")
    return _FLAT[theirs] + layer.removeprefix(theirs) if theirs else layer


def _alpha(scales: Mapping[str, Any], component: str, layer: str, *, rank: int) -> float | None:
    """The alpha that, divided by the rank, is the scale; None where nothing is said of one.

    Source: PEFT, tuners/lora/layer.py, update_layer.
    """
    told = f"{component}." if component else ""
    whole = scales.get(f"{told}lora_alpha")
    if whole is None:
        return None
    pattern = scales.get(f"{told}alpha_pattern") or {}
    ends = (alpha for end, alpha in pattern.items() if f".{layer}".endswith(f".{end.removeprefix('^')}"))
    alpha = float(next(ends, whole))
    return alpha * math.sqrt(rank) if scales.get(f"{told}use_rslora") else alpha


# FLUX's layers of the original layout, as kohya writes them.
_OF_FLUX = re.compile(r"lora_unet_(double_blocks|single_blocks|(img|txt|time|vector|guidance)_in|final_layer)(_.*)?")
# In the names of XLabs' own layout.
_OF_XLABS = ".processor."


def of_flux(named: Tensors) -> dict[str, Tensor]:
    """FLUX's, by diffusers' names of the layers. Raises nearly anything where they are of no FLUX model."""
    kohya = {name: tensor for name, tensor in named.items() if _OF_FLUX.fullmatch(name.partition(".")[0])}
    xlabs = {name: tensor for name, tensor in named.items() if _OF_XLABS in name}
    converted = {name: tensor for name, tensor in named.items() if name not in kohya and name not in xlabs}
    for original in (_scaled(kohya), xlabs):
        if original:
            converted |= kohya_named(FluxPipeline.lora_state_dict(original), {})
    return converted


def _scaled(named: Tensors) -> dict[str, Tensor]:
    """With the scale in the weights: diffusers forgets it in the last layers."""
    scaled: dict[str, Tensor] = {}
    for name, tensor in named.items():
        layer, _, factor = name.partition(".")
        if factor not in ("lora_down.weight", "lora_up.weight", "alpha"):
            raise ValueError(f"{layer} has the factor {factor}; layers of the original layout may be of LoRA only")
        if factor == "lora_up.weight":
            scaled[name] = tensor * _scale(named, layer)
        elif factor == "lora_down.weight":
            scaled[name] = tensor
    return scaled


def _scale(named: Tensors, layer: str) -> float:
    alpha = named.get(f"{layer}.alpha")
    return 1.0 if alpha is None else float(alpha) / len(named[f"{layer}.lora_down.weight"])


# SD 3's layers of the original layout. Source: diffusers, loaders/single_file_utils.py,
# convert_sd3_transformer_checkpoint_to_diffusers.
_OF_SD3 = {
    "x_embedder_proj": "pos_embed_proj",
    "context_embedder": "context_embedder",
    "t_embedder_mlp_0": "time_text_embed_timestep_embedder_linear_1",
    "t_embedder_mlp_2": "time_text_embed_timestep_embedder_linear_2",
    "y_embedder_mlp_0": "time_text_embed_text_embedder_linear_1",
    "y_embedder_mlp_2": "time_text_embed_text_embedder_linear_2",
    "final_layer_linear": "proj_out",
    "final_layer_adaLN_modulation_1": "norm_out_linear",
}
_OF_BLOCKS = {
    "x_block_attn_qkv": ("attn_to_q", "attn_to_k", "attn_to_v"),
    "x_block_attn_proj": ("attn_to_out_0",),
    "x_block_attn2_qkv": ("attn2_to_q", "attn2_to_k", "attn2_to_v"),
    "x_block_attn2_proj": ("attn2_to_out_0",),
    "x_block_mlp_fc1": ("ff_net_0_proj",),
    "x_block_mlp_fc2": ("ff_net_2",),
    "x_block_adaLN_modulation_1": ("norm1_linear",),
    "context_block_attn_qkv": ("attn_add_q_proj", "attn_add_k_proj", "attn_add_v_proj"),
    "context_block_attn_proj": ("attn_to_add_out",),
    "context_block_mlp_fc1": ("ff_context_net_0_proj",),
    "context_block_mlp_fc2": ("ff_context_net_2",),
    "context_block_adaLN_modulation_1": ("norm1_context_linear",),
}
_BLOCK = re.compile(r"joint_blocks_([0-9]+)_(.+)")


def of_sd3(named: Tensors, *, blocks: int) -> dict[str, Tensor]:
    """SD 3's, by diffusers' names of the layers; `blocks` is how many the transformer has. Raises ValueError."""
    theirs = {name: ours for name in named if (ours := _sd3_layers(name.partition(".")[0]))}
    last = f"joint_blocks_{blocks - 1}_context_block_adaLN_modulation_1"
    converted = {name: tensor for name, tensor in named.items() if name not in theirs}
    for name, tensor in _scaled({name: named[name] for name in theirs}).items():
        layer, _, factor = name.partition(".")
        is_up = factor == "lora_up.weight"
        if is_up and layer.endswith((last, "final_layer_adaLN_modulation_1")):
            # There shift comes first, in diffusers scale.
            tensor = torch.cat(tensor.chunk(2)[::-1])
        ours = theirs[name]
        parts = tensor.chunk(len(ours)) if is_up else [tensor] * len(ours)
        converted |= {f"lora_unet_{each}.{factor}": part for each, part in zip(ours, parts, strict=True)}
    return converted


def _sd3_layers(layer: str) -> tuple[str, ...]:
    """Those of diffusers that it is in the original layout; none where it is not of that."""
    name = layer.removeprefix("lora_unet_")
    if name in _OF_SD3:
        return (_OF_SD3[name],)
    found = _BLOCK.fullmatch(name)
    return tuple(f"transformer_blocks_{found[1]}_{each}" for each in _OF_BLOCKS.get(found[2], ())) if found else ()


# Names of the original layout, as in SDXL's files: blocks are counted through, and resnets have names of their own.
_OF_UNET = re.compile(r"lora_unet_(input_blocks|output_blocks|middle_block)((?<=blocks)_[0-9]+)?_([0-9])(?:_(.+))?")
_OF_MIDDLE = {"0": "resnets_0", "1": "attentions_0", "2": "resnets_1"}
_OF_RESNETS = {
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_SAMPLERS = {"op": "downsamplers_0_conv", "conv": "upsamplers_0_conv"}


def of_unet(named: Tensors, *, layers_per_block: int) -> dict[str, Tensor]:
    """Those of Stable Diffusion and SDXL, by diffusers' names of the layers."""
    parted = ((*name.partition(".")[::2], tensor) for name, tensor in named.items())
    return {f"{unet_layer(layer, layers_per_block)}.{factor}": tensor for layer, factor, tensor in parted}


def unet_layer(name: str, layers_per_block: int) -> str:
    """A layer that is named as in the original layout, usual for SDXL, by its name in diffusers' layout."""
    found = _OF_UNET.fullmatch(name)
    if found is None:
        return name
    side, number, part, rest = found.groups(default="")
    rest = next((ours + rest[len(theirs) :] for theirs, ours in _OF_RESNETS.items() if rest.startswith(theirs)), rest)
    if side == "middle_block":
        return f"lora_unet_mid_block_{_OF_MIDDLE[part]}_{rest}"
    if (side, number) == ("input_blocks", "_0"):
        return "lora_unet_conv_in"
    place = int(number[1:]) - (side == "input_blocks")
    block, layer = divmod(place, layers_per_block + 1)
    blocks = "down_blocks" if side == "input_blocks" else "up_blocks"
    if rest in _SAMPLERS:
        return f"lora_unet_{blocks}_{block}_{_SAMPLERS[rest]}"
    return f"lora_unet_{blocks}_{block}_{'resnets' if part == '0' else 'attentions'}_{layer}_{rest}"
