"""What a LoRA's file holds: for each layer, the factors of what is added to its weight. It changes no network.

Read: kohya's names and diffusers' (PEFT's), of LoRA, LoCon, LoHa and LoKr.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_worker.engine.tensors import read_tensors
from jobs.catalog import Model
from jobs.errors import FatalFailure

# PEFT's names of the factors, and kohya's.
_PEFT_FACTORS = {"lora_A.weight": "lora_down.weight", "lora_B.weight": "lora_up.weight"}
# Of diffusers' components, as kohya writes them.
_COMPONENTS = {"unet": "lora_unet", "transformer": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}
# Names of the original layout, as in SDXL's files: blocks are counted through, and resnets have names of their own.
_ORIGINAL = re.compile(r"lora_unet_(input_blocks|output_blocks|middle_block)((?<=blocks)_[0-9]+)?_([0-9])(?:_(.+))?")
_OF_MIDDLE = {"0": "resnets_0", "1": "attentions_0", "2": "resnets_1"}
_OF_RESNETS = {
    "in_layers_2": "conv1",
    "emb_layers_1": "time_emb_proj",
    "out_layers_3": "conv2",
    "skip_connection": "conv_shortcut",
}
_SAMPLERS = {"op": "downsamplers_0_conv", "conv": "upsamplers_0_conv"}
_REFUSED = {"dora_scale": "DoRA", "hada_t1": "LoHa in Tucker's form", "lokr_t2": "LoKr in Tucker's form"}


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to one layer: factors, by kohya's names such as `lora_up.weight`."""

    factors: Mapping[str, Tensor]

    def to(self, weight: Tensor) -> Tensor:
        """What is added to `weight` at strength 1: of its shape and on its device, in float32.

        Raises ValueError where the factors are none of a form that is known, or of another layer.
        """
        factors = {name: factor.to(weight.device, torch.float32) for name, factor in self.factors.items()}
        product, rank = _product(factors)
        if product.numel() != weight.numel() or len(product) != len(weight):
            raise ValueError(
                f"it changes a weight of {tuple(product.shape)}, where there is one of {tuple(weight.shape)}"
            )
        scale = float(factors["alpha"]) / rank if rank and "alpha" in factors else 1.0
        return scale * product.reshape(weight.shape)


def read_changes(model: Model, layers_per_block: int) -> dict[str, Change]:
    """By kohya's names of the layers, such as `lora_unet_mid_block_attentions_0_proj_in`.

    Raises FatalFailure where the file cannot be read, or is of a form that is not known.
    """
    named = dict(_kohya_named(read_tensors(model)))
    layers: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in named.items():
        layer, _, factor = name.partition(".")
        layers[_diffusers_layer(layer, layers_per_block)][factor] = tensor
    _refuse_others(model, layers)
    return {name: Change(factors) for name, factors in layers.items()}


def _kohya_named(weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in weights.items():
        for factor, kohya in _PEFT_FACTORS.items():
            if name.endswith(f".{factor}"):
                component, _, layer = name.removesuffix(f".{factor}").partition(".")
                yield f"{_COMPONENTS.get(component, component)}_{layer.replace('.', '_')}.{kohya}", tensor
                break
        else:
            yield name, tensor


def _diffusers_layer(name: str, layers_per_block: int) -> str:
    """A layer that is named as in the original layout, usual for SDXL, by its name in diffusers' layout."""
    found = _ORIGINAL.fullmatch(name)
    if found is None or not layers_per_block:
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


def _refuse_others(model: Model, layers: Mapping[str, Mapping[str, Tensor]]) -> None:
    factors = {factor for each in layers.values() for factor in each}
    for factor, form in _REFUSED.items():
        if factor in factors:
            raise FatalFailure(f"LoRA {model.id}: {model.path} is a {form}, which is not supported")


def _product(factors: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    """The change before it is scaled by alpha / rank, and the rank; 0 where nothing was decomposed.

    Source: Hu et al. 2021, arXiv:2106.09685; Yeh et al. 2023, arXiv:2309.14859, section 3.
    """
    if "lora_up.weight" in factors and "lora_down.weight" in factors:
        return _low_rank(factors), len(factors["lora_down.weight"])
    if "hada_w1_a" in factors:
        pairs = [factors[f"hada_w{i}_a"] @ factors[f"hada_w{i}_b"] for i in (1, 2)]
        return pairs[0] * pairs[1], len(factors["hada_w1_b"])
    if "lokr_w1" in factors or "lokr_w1_a" in factors:
        return _kronecker(factors)
    raise ValueError(f"its factors {', '.join(sorted(factors))} are of no known form")


def _low_rank(factors: Mapping[str, Tensor]) -> Tensor:
    up, down = factors["lora_up.weight"], factors["lora_down.weight"]
    if "lora_mid.weight" in factors:  # of a convolution: 1 × 1, then the kernel between ranks, then 1 × 1
        return torch.einsum("oa,abkl,bi->oikl", up.flatten(1), factors["lora_mid.weight"], down.flatten(1))
    return up.flatten(1) @ down.flatten(1)


def _kronecker(factors: Mapping[str, Tensor]) -> tuple[Tensor, int]:
    parts, rank = [], 0
    for name in ("lokr_w1", "lokr_w2"):
        if name in factors:
            parts.append(factors[name])
        else:
            rank = len(factors[f"{name}_b"])
            parts.append(factors[f"{name}_a"] @ factors[f"{name}_b"].flatten(1))
    small, large = parts
    return torch.kron(small[:, :, None, None] if large.ndim == 4 else small, large), rank
