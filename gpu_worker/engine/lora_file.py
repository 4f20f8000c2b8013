"""What a LoRA's file holds: for each layer, the factors of what is added to its weight. It changes no network.

Read: LoRA, LoCon, LoHa and LoKr, by the names of `lora_names`.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from gpu_worker.engine.lora_names import SCALES, kohya_named, scales_in
from gpu_worker.engine.memory import is_out_of_memory
from gpu_worker.engine.tensors import read_notes, read_tensors
from jobs.catalog import Model
from jobs.errors import FatalFailure

_REFUSED = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_t1": "LoHa in Tucker's form",
    "lokr_t2": "LoKr in Tucker's form",
    "diff": "LoRA with whole changes of weights",
    "diff_b": "LoRA with changes of biases",
    "lora_B.bias": "LoRA with changes of biases",
}

_WHOLE = (".diff", ".diff_b")
# Of what diffusers says, which may name all layers of a file.
MAX_REASON = 300


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


Tensors: TypeAlias = Mapping[str, Tensor]


def read_changes(model: Model, in_diffusers: Callable[[Tensors], Tensors]) -> dict[str, Change]:
    """By kohya's names of diffusers' layers, such as `lora_unet_mid_block_attentions_0_proj_in`.

    `in_diffusers` makes these of names that follow the original layout of the architecture.
    Raises FatalFailure where the file cannot be read, or is of a form that is not known.
    """
    named = _named(model)
    # Tools that take a LoRA out of two models write down also what did not change.
    named = {name: each for name, each in named.items() if not name.endswith(_WHOLE) or each.any()}
    _refuse_others(model, named)
    layers: dict[str, dict[str, Tensor]] = defaultdict(dict)
    try:
        for name, tensor in in_diffusers(named).items():
            layer, _, factor = name.partition(".")
            layers[layer][factor] = tensor
    except (ValueError, LookupError, AssertionError, AttributeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        # diffusers' conversions assert, and pop what may not be there.
        reason = str(error)[:MAX_REASON] or "its layers are of other widths"
        raise FatalFailure(f"LoRA {model.id} was made for another checkpoint: {model.path}: {reason}") from error
    return {name: Change(factors) for name, factors in layers.items()}


def _named(model: Model) -> dict[str, Tensor]:
    tensors, notes = read_tensors(model), read_notes(model)
    try:
        return kohya_named(tensors, scales_in(notes))
    except (ValueError, TypeError) as error:
        raise FatalFailure(f"LoRA {model.id}: {model.path} tells of no scale in {SCALES}: {error}") from error


def _refuse_others(model: Model, named: Tensors) -> None:
    factors = {name.partition(".")[2] for name in named}
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
