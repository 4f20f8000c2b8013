"""A prompt: pieces of text, each with a weight. It knows no tokenizer."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Piece:
    """`weight` 1 is neutral; it multiplies the attention that the denoiser pays to this text."""

    text: str
    weight: float = 1.0


Prompt: TypeAlias = tuple[Piece, ...]
