"""From words to what the denoiser reads. The syntax of emphasis is `jobs.emphasis`'s."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gpu_worker.engine.architectures.architecture import Architecture, Encoded
from gpu_worker.engine.checkpoint import Checkpoint
from gpu_worker.engine.embedding import LearnedWord, names_of
from gpu_worker.engine.emphasis import emphasised
from gpu_worker.engine.long_text import long_states
from jobs.catalog import any_name
from jobs.emphasis import windows
from jobs.errors import FatalFailure
from jobs.prompt import Prompt

_SEPARATOR = ", "
# A window that would end within a phrase ends at its last comma, if that is so near. As the web UI does by default.
_COMMA_WITHIN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditioning:
    """What to draw and what to avoid.

    `positive` and `negative` are (1, tokens, width), with as many tokens each; tokens are a multiple of
    the text encoders' windows. The pooled ones are (1, projection), for those that read them. `negative` None is for
    those that are not guided away from an empty text.
    """

    positive: Tensor
    negative: Tensor | None
    pooled_positive: Tensor | None = None
    pooled_negative: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Token:
    """`vector`, (width,), stands for what the encoder has learned of `id`, if it is given."""

    id: int
    weight: float
    vector: Tensor | None = None


def encode_prompt(
    checkpoint: Checkpoint, prompt: Prompt, negative: Prompt, clip_skip: int, words: Sequence[LearnedWord] = ()
) -> Conditioning:
    """Both prompts through each of the checkpoint's text encoders; `words` are learned words that they may use.

    `clip_skip` counts as A1111 does: 0 and 1 are the last layer, 2 the one before. SDXL and SD 3 were trained on the
    one before the last, so there 0, 1 and 2 mean that.
    Raises FatalFailure if the encoder has not so many layers.
    """
    prompts, architecture = (prompt, negative), checkpoint.architecture
    encoders = zip(checkpoint.tokenizers, checkpoint.text_encoders, strict=True)
    pairs = [
        _encode_pair(checkpoint, _Reader(tokenizer, words, number), encoder, prompts, clip_skip)
        for number, (tokenizer, encoder) in enumerate(encoders)
    ]
    long = long_states(checkpoint, prompts)
    positive, avoided = (architecture.joined([pair[i] for pair in pairs], long[i]) for i in range(2))
    if not architecture.needs_negative and not _has_text(negative):
        return Conditioning(positive=positive.states, negative=None, pooled_positive=positive.pooled)
    if checkpoint.zeros_for_no_negative and not _has_text(negative):
        avoided = Encoded(torch.zeros_like(avoided.states), _zeros_like(avoided.pooled))
    return Conditioning(
        positive=positive.states,
        negative=avoided.states,
        pooled_positive=positive.pooled,
        pooled_negative=avoided.pooled,
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
        encoded = _hidden_states(checkpoint.architecture, encoder, ids, clip_skip)
    weighted = [
        # The first is the begin.
        emphasised(state, [token.weight for token in chunk], first=1)
        for state, chunk in zip(encoded.states, chunks, strict=True)
    ]
    return Encoded(torch.stack(weighted), encoded.pooled)


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


def _hidden_states(architecture: Architecture, encoder: Any, ids: Tensor, clip_skip: int) -> Encoded:
    layer = max(clip_skip, architecture.least_clip_skip)
    output = encoder(ids, output_hidden_states=layer > 1)
    pooled = output.get("text_embeds", output.get("pooler_output"))
    if layer == 1:
        return Encoded(output.last_hidden_state, pooled)
    # The first of the hidden states is the embedding, which no layer has read.
    if layer >= len(output.hidden_states):
        raise FatalFailure(f"clip_skip {clip_skip}: the text encoder has {len(output.hidden_states) - 1} layers")
    states = output.hidden_states[-layer]
    return Encoded(_final_layer_norm(encoder)(states) if architecture.norms_skipped else states, pooled)


def _final_layer_norm(encoder: Any) -> Any:
    # transformers 5 took `text_model` out of CLIPTextModel; before, the layer was one level deeper.
    return getattr(encoder, "text_model", encoder).final_layer_norm


def _has_text(prompt: Prompt) -> bool:
    return any(piece.text.strip() for piece in prompt)


def _zeros_like(pooled: Tensor | None) -> Tensor | None:
    return None if pooled is None else torch.zeros_like(pooled)
