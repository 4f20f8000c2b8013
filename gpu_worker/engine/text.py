"""From words to what the denoiser reads. The syntax of emphasis is `jobs.emphasis`'s."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpu_worker.engine.checkpoint import Checkpoint
from gpu_worker.engine.embedding import LearnedWord, names_of
from jobs.catalog import Family, any_name
from jobs.emphasis import windows
from jobs.errors import FatalFailure
from jobs.prompt import Prompt

_SEPARATOR = ", "
# A window that would end within a phrase ends at its last comma, if that is so near. As the web UI does by default.
_COMMA_WITHIN = 20
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
    """`vector`, (width,), stands for what the encoder has learned of `id`, if it is given."""

    id: int
    weight: float
    vector: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """`states` is (chunks, window, width); `pooled` is (chunks, projection), or None."""

    states: Tensor
    pooled: Tensor | None


def encode_prompt(
    checkpoint: Checkpoint, prompt: Prompt, negative: Prompt, clip_skip: int, words: Sequence[LearnedWord] = ()
) -> Conditioning:
    """Both prompts through each of the checkpoint's text encoders; `words` are learned words that they may use.

    `clip_skip` counts as A1111 does: 0 and 1 are the last layer, 2 the one before. SDXL was trained on the one
    before the last, so there 0, 1 and 2 mean that.
    Raises FatalFailure if the encoder has not so many layers.
    """
    encoders = zip(checkpoint.tokenizers, checkpoint.text_encoders, strict=True)
    pairs = [
        _encode_pair(checkpoint, _Reader(tokenizer, words, number), encoder, (prompt, negative), clip_skip)
        for number, (tokenizer, encoder) in enumerate(encoders)
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


class _Reader:
    """Reads prompts for one text encoder, the one of this number."""

    def __init__(self, tokenizer: Any, words: Sequence[LearnedWord], number: int) -> None:
        self.tokenizer = tokenizer
        self._words = words
        self._number = number
        self._by_name = names_of(words)
        self._name = any_name(self._by_name)

    def windows(self, prompt: Prompt) -> list[list[Token]]:
        """The pieces' tokens without specials, cut at each BREAK; between two pieces a comma of neutral weight."""
        read: list[list[Token]] = [[]]
        for piece in prompt:
            if not piece.text.strip():
                continue
            if read[-1]:
                read[-1] += self._tokens(_SEPARATOR, 1.0)
            first, *others = windows(piece.text)
            read[-1] += self._of(first, piece.weight)
            read += [self._of(each, piece.weight) for each in others]
        return read

    def _of(self, pieces: Prompt, weight: float) -> list[Token]:
        return [token for piece in pieces for token in self._tokens(piece.text, weight * piece.weight)]

    def _tokens(self, text: str, weight: float) -> list[Token]:
        if self._name is None:
            return self._plain(text, weight)
        # Every second part is a name.
        parts = self._name.split(text)
        tokens = self._plain(parts[0], weight)
        for name, after in zip(parts[1::2], parts[2::2], strict=True):
            tokens += self._learned(name, weight) + self._plain(after, weight)
        return tokens

    def _learned(self, name: str, weight: float) -> list[Token]:
        word = self._by_name.get(name.casefold())
        if word is None:  # letters of another alphabet that a pattern takes for the same
            return self._plain(name, weight)
        return [Token(0, weight, vector) for vector in self._words[word].vectors[self._number]]

    def _plain(self, text: str, weight: float) -> list[Token]:
        # verbose: a text over the model's length is no fault here, it is cut into chunks.
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        return [Token(id, weight) for id in ids]


def _encode_pair(
    checkpoint: Checkpoint, reader: _Reader, encoder: Any, prompts: tuple[Prompt, Prompt], clip_skip: int
) -> list[Encoded]:
    tokenizer = reader.tokenizer
    chunked = [_chunks(tokenizer, reader.windows(prompt)) for prompt in prompts]
    most = max(map(len, chunked))
    return [
        _encode(checkpoint, tokenizer, encoder, chunks + [[]] * (most - len(chunks)), clip_skip) for chunks in chunked
    ]


def _chunks(tokenizer: Any, windows: Sequence[Sequence[Token]]) -> list[Sequence[Token]]:
    """At least one chunk; each has at most as many tokens as the encoder takes, without specials."""
    most = tokenizer.model_max_length - 2
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    chunks: list[Sequence[Token]] = []
    for window in windows:
        rest = window
        while len(rest) > most:
            end = _end_of_phrase(rest, most, comma)
            chunks.append(rest[:end])
            rest = rest[end:]
        chunks.append(rest)
    return chunks


def _end_of_phrase(tokens: Sequence[Token], most: int, comma: int) -> int:
    for end in range(most, most - _COMMA_WITHIN, -1):
        if end > 0 and tokens[end - 1].id == comma and tokens[end - 1].vector is None:
            return end
    return most


def _encode(
    checkpoint: Checkpoint, tokenizer: Any, encoder: Any, chunks: Sequence[Sequence[Token]], clip_skip: int
) -> Encoded:
    rows = [_row(tokenizer, [token.id for token in chunk]) for chunk in chunks]
    ids = torch.tensor(rows, device=checkpoint.device.torch_device)
    with _knowing(encoder, chunks):
        states, pooled = _hidden_states(checkpoint, encoder, ids, clip_skip)
    weighted = [_emphasised(state, chunk) for state, chunk in zip(states, chunks, strict=True)]
    return Encoded(torch.stack(weighted), pooled)


@contextmanager
def _knowing(encoder: Any, chunks: Sequence[Sequence[Token]]) -> Iterator[None]:
    """Inside, the encoder reads the chunks' vectors in the places of their tokens."""
    learned = [
        (row, place, token.vector)
        for row, chunk in enumerate(chunks)
        for place, token in enumerate(chunk, 1)
        if token.vector is not None
    ]

    def put(_layer: Any, _ids: Any, embedded: Tensor) -> Tensor:
        for row, place, vector in learned:
            embedded[row, place] = vector
        return embedded

    hook = encoder.get_input_embeddings().register_forward_hook(put) if learned else None
    try:
        yield
    finally:
        if hook is not None:
            hook.remove()


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
