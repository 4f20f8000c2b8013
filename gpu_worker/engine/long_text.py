"""T5's part of a prompt: the whole of it at once. It knows no learned words, which are CLIP's."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from gpu_worker.engine.checkpoint import Checkpoint, LongReader
from gpu_worker.engine.emphasis import emphasised
from jobs.emphasis import windows
from jobs.prompt import Piece, Prompt

_SEPARATOR = Piece(", ")
# T5 has no windows to begin.
_BREAK = Piece(" ")


def long_states(checkpoint: Checkpoint, prompts: Sequence[Prompt]) -> list[Tensor | None]:
    """(1, tokens, width) for each of the prompts, of one length: a multiple of the architecture's window.

    Zeros where this model goes without T5, None where its architecture has none.
    """
    architecture, reader = checkpoint.architecture, checkpoint.t5
    if architecture.t5 is None:
        return [None] * len(prompts)
    if reader is None:
        width = checkpoint.denoiser.config.joint_attention_dim
        zeros = torch.zeros(1, architecture.t5_tokens, width, device=checkpoint.device.torch_device)
        return [zeros.to(checkpoint.device.dtype)] * len(prompts)
    read = [_tokens(reader.tokenizer, prompt) for prompt in prompts]
    # One more is the end.
    windows_needed = max(len(ids) // architecture.t5_tokens + 1 for ids, _ in read)
    length = windows_needed * architecture.t5_tokens
    return [_encoded(checkpoint, reader, ids, weights, length) for ids, weights in read]


def _encoded(
    checkpoint: Checkpoint, reader: LongReader, ids: Sequence[int], weights: Sequence[float], length: int
) -> Tensor:
    framed = [*ids, reader.tokenizer.eos_token_id]
    row = framed + [reader.tokenizer.pad_token_id] * (length - len(framed))
    states = reader.encoder(torch.tensor([row], device=checkpoint.device.torch_device))[0].to(checkpoint.device.dtype)
    return emphasised(states[0], weights, first=0)[None]


def _tokens(tokenizer: Any, prompt: Prompt) -> tuple[list[int], list[float]]:
    """Without the end, and what each weighs. Read as one text: a word's tokens depend on what is before it."""
    pieces = list(_pieces(prompt))
    text = "".join(piece.text for piece in pieces)
    weight_at = [piece.weight for piece in pieces for _ in piece.text]
    # verbose: T5 was trained on shorter texts, but it takes any.
    read = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    # A token may begin with the space before its word; it weighs what its last letter does.
    weights = [weight_at[min(max(end, 1), len(text)) - 1] for _, end in read.offset_mapping] if text else []
    return list(read.input_ids), weights


def _pieces(prompt: Prompt) -> Iterator[Piece]:
    """The pieces of one weight, in the order of the text."""
    told = [piece for piece in prompt if piece.text.strip()]
    for i, piece in enumerate(told):
        if i:
            yield _SEPARATOR
        read = windows(piece.text)
        parted = chain.from_iterable((*window, _BREAK) for window in read[:-1])
        for each in (*parted, *read[-1]):
            yield each if each is _BREAK else Piece(each.text, piece.weight * each.weight)
