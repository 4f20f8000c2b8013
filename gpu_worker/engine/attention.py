"""Attention in slices, where memory is short. It computes none itself."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# Where no fused kernel serves (older GPUs), the scores of 1024 × 1024 pixels take 4 GiB a row for the eight heads of
# SD 1.5 in float16; a slice takes 1/16 of that.
SLICE_TOKENS = 1024


class SlicedAttention:
    """A processor of diffusers' attention that asks `whole` for some of the queries at a time: the same numbers, for
    what one place sees depends on no other place's question."""

    def __init__(self, whole: Any) -> None:
        self._whole = whole

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
    ) -> Tensor:
        seen = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        slices = torch.split(hidden_states, SLICE_TOKENS, dim=1)
        return torch.cat([self._whole(attn, each, seen, attention_mask) for each in slices], dim=1)


@contextmanager
def sliced_attention(networks: Sequence[Any]) -> Iterator[None]:
    """Within it these networks attend in slices."""
    before = [network.attn_processors for network in networks]
    for network, processors in zip(networks, before, strict=True):
        network.set_attn_processor({name: SlicedAttention(each) for name, each in processors.items()})
    try:
        yield
    finally:
        for network, processors in zip(networks, before, strict=True):
            network.set_attn_processor(dict(processors))
