"""From words to what the denoiser reads. It knows no syntax: weights come as pieces, already parsed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpu_worker.engine.checkpoint import Checkpoint
from jobs.catalog import Family
from jobs.errors import FatalFailure
from jobs.prompt import Prompt

_SEPARATOR = ", "
# Of CLIP's states the mean is about a tenth of the deviation. Where it is nearly 0, as after a layer norm that is
# not trained, a ratio of two means is noise.
_LEAST_MEAN = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """What to draw and what to avoid.

    `positive` and `negative` are (1, tokens, width), with as many tokens each; tokens are a multiple of
    the text encoder's window. The pooled ones are (1, projection), for SDXL only.
    """

    positive: Tensor
    negative: Tensor
    pooled_positive: Tensor | None = None
    pooled_negative: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Token:
    id: int
    weight: float


@dataclass(frozen=True, slots=True)
class Encoded:
    """`states` is (chunks, window, width); `pooled` is (chunks, projection), or None."""

    states: Tensor
    pooled: Tensor | None


def encode_prompt(checkpoint: Checkpoint, prompt: Prompt, negative: Prompt, clip_skip: int) -> Conditioning:
    """Both prompts through each of the checkpoint's text encoders.

    `clip_skip` counts as A1111 does: 0 and 1 are the last layer, 2 the one before. SDXL was trained on the one
    before the last, so there 0, 1 and 2 mean that.
    Raises FatalFailure if the encoder has not so many layers.
    """
    pairs = [
        _encode_pair(checkpoint, tokenizer, encoder, (prompt, negative), clip_skip)
        for tokenizer, encoder in zip(checkpoint.tokenizers, checkpoint.text_encoders, strict=True)
    ]
    positive = _joined([pair[0] for pair in pairs])
    avoided = _joined([pair[1] for pair in pairs])
    if checkpoint.zeros_for_no_negative and not _has_text(negative):
        avoided = Encoded(torch.zeros_like(avoided.states), _zeros_like(avoided.pooled))
    return Conditioning(
        positive=_in_a_row(positive.states),
        negative=_in_a_row(avoided.states),
        pooled_positive=_first(positive.pooled),
        pooled_negative=_first(avoided.pooled),
    )


def _encode_pair(
    checkpoint: Checkpoint, tokenizer: Any, encoder: Any, prompts: tuple[Prompt, Prompt], clip_skip: int
) -> list[Encoded]:
    window = tokenizer.model_max_length - 2
    chunked = [_chunks(_tokens(tokenizer, prompt), window) for prompt in prompts]
    most = max(map(len, chunked))
    return [
        _encode(checkpoint, tokenizer, encoder, chunks + [[]] * (most - len(chunks)), clip_skip) for chunks in chunked
    ]


def _tokens(tokenizer: Any, prompt: Prompt) -> list[Token]:
    """The pieces' tokens without specials; between two pieces a comma of neutral weight."""
    tokens: list[Token] = []
    for piece in prompt:
        if not piece.text.strip():
            continue
        if tokens:
            tokens += [Token(id, 1.0) for id in _ids(tokenizer, _SEPARATOR)]
        tokens += [Token(id, piece.weight) for id in _ids(tokenizer, piece.text)]
    return tokens


def _ids(tokenizer: Any, text: str) -> list[int]:
    # verbose: a text over the model's length is no fault here, it is cut into chunks.
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False).input_ids
    return ids


def _chunks(tokens: Sequence[Token], window: int) -> list[Sequence[Token]]:
    """At least one chunk; each has at most `window` tokens."""
    return [tokens[start : start + window] for start in range(0, max(len(tokens), 1), window)]


def _encode(
    checkpoint: Checkpoint, tokenizer: Any, encoder: Any, chunks: Sequence[Sequence[Token]], clip_skip: int
) -> Encoded:
    rows = [_row(tokenizer, [token.id for token in chunk]) for chunk in chunks]
    ids = torch.tensor(rows, device=checkpoint.device.torch_device)
    states, pooled = _hidden_states(checkpoint, encoder, ids, clip_skip)
    weighted = [_emphasised(state, chunk) for state, chunk in zip(states, chunks, strict=True)]
    return Encoded(torch.stack(weighted), pooled)


def _row(tokenizer: Any, ids: list[int]) -> list[int]:
    framed = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    return framed + [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(framed))


def _hidden_states(checkpoint: Checkpoint, encoder: Any, ids: Tensor, clip_skip: int) -> tuple[Tensor, Tensor | None]:
    is_xl = checkpoint.family is Family.SDXL
    if clip_skip <= 1 and not is_xl:
        return encoder(ids).last_hidden_state, None
    output = encoder(ids, output_hidden_states=True)
    layer = max(clip_skip, 2)
    # The first of the hidden states is the embedding, which no layer has read.
    if layer >= len(output.hidden_states):
        raise FatalFailure(f"clip_skip {clip_skip}: the text encoder has {len(output.hidden_states) - 1} layers")
    if is_xl:
        return output.hidden_states[-layer], output.get("text_embeds")
    return _final_layer_norm(encoder)(output.hidden_states[-layer]), None


def _final_layer_norm(encoder: Any) -> Any:
    # transformers 5 took `text_model` out of CLIPTextModel; before, the layer was one level deeper.
    return getattr(encoder, "text_model", encoder).final_layer_norm


def _emphasised(states: Tensor, chunk: Sequence[Token]) -> Tensor:
    """`states` (window, width) times the tokens' weights; then all as much smaller as keeps their mean.

    Untouched, to the bit, if all weights are 1.
    Source: AUTOMATIC1111's stable-diffusion-webui, modules/sd_emphasis.py, EmphasisOriginal.
    """
    if all(token.weight == 1 for token in chunk):
        return states
    weights = torch.ones(len(states), 1, device=states.device, dtype=states.dtype)
    weights[1 : len(chunk) + 1, 0] = weights.new_tensor([token.weight for token in chunk])
    weighted = states * weights
    if states.mean().abs() < _LEAST_MEAN * states.std():
        return weighted
    return weighted * (states.mean() / weighted.mean())


def _joined(parts: list[Encoded]) -> Encoded:
    """Several encoders' states side by side; pooled by the last, the only one that has a projection."""
    return Encoded(torch.cat([part.states for part in parts], dim=-1), parts[-1].pooled)


def _has_text(prompt: Prompt) -> bool:
    return any(piece.text.strip() for piece in prompt)


def _in_a_row(states: Tensor) -> Tensor:
    return states.reshape(1, -1, states.shape[-1])


def _first(pooled: Tensor | None) -> Tensor | None:
    return None if pooled is None else pooled[:1]


def _zeros_like(pooled: Tensor | None) -> Tensor | None:
    return None if pooled is None else torch.zeros_like(pooled)
