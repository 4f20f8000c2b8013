"""Emphasis in a text, as users of AUTOMATIC1111's web UI write it. It knows no tokenizer.

`(x)` is 1.1 times and `[x]` 1 / 1.1 times as strong, `(x:1.3)` 1.3 times; a backslash makes a bracket plain text, and
BREAK begins a new window of the text encoder. What is not closed counts to the end, what is not opened is text.
No weight, and no product of them, counts for more than that of a prompt may be.
Source: the web UI's wiki, "Features", section "Attention/emphasis".
"""

import re

from jobs.attachments import MAX_WEIGHT
from jobs.prompt import Piece, Prompt

# More brackets within each other are text: each multiplies all that is inside.
MAX_DEPTH = 32

_PART = re.compile(r"\\[()\[\]\\]|[(\[]|:\s*([+-]?[0-9.]{1,12})\s*\)|[)\]]|[^\\()\[\]:]+|[\\:]")
_BREAK = re.compile(r"\s*\bBREAK\b\s*")
_FACTORS = {"(": 1.1, "[": 1 / 1.1}
_CLOSING = {")": "(", "]": "["}


def windows(text: str) -> list[Prompt]:
    """What stands between the BREAKs, at least one, each as pieces of one weight."""
    parsed: list[list[Piece]] = [[]]
    for piece in _weighed(text):
        first, *others = _BREAK.split(piece.text)
        parsed[-1].append(Piece(first, piece.weight))
        parsed += [[Piece(each, piece.weight)] for each in others]
    return [_merged(pieces) for pieces in parsed]


def _weighed(text: str) -> list[Piece]:
    texts: list[str] = []
    weights: list[float] = []
    opened: list[tuple[str, int]] = []

    def close(factor: float) -> None:
        start = opened.pop()[1]
        weights[start:] = [weight * factor for weight in weights[start:]]

    for found in _PART.finditer(text):
        part, number = found[0], _number(found[1])
        innermost = opened[-1][0] if opened else ""
        if part in _FACTORS and len(opened) < MAX_DEPTH:
            opened.append((part, len(texts)))
        elif number is not None and innermost == "(":
            close(number)
        elif part in _CLOSING and innermost == _CLOSING[part]:
            close(_FACTORS[innermost])
        else:
            texts.append(part[1:] if len(part) == 2 and part[0] == "\\" else part)
            weights.append(1.0)
    while opened:
        close(_FACTORS[opened[-1][0]])
    return [Piece(text, _bounded(weight)) for text, weight in zip(texts, weights, strict=True)]


def _number(text: str | None) -> float | None:
    try:
        return _bounded(float(text)) if text else None
    except ValueError:
        return None


def _bounded(weight: float) -> float:
    return max(-MAX_WEIGHT, min(weight, MAX_WEIGHT))


def _merged(pieces: list[Piece]) -> Prompt:
    """Neighbours of one weight are one text: a tokenizer reads words across them."""
    merged: list[Piece] = []
    for piece in pieces:
        if merged and merged[-1].weight == piece.weight:
            merged[-1] = Piece(merged[-1].text + piece.text, piece.weight)
        elif piece.text:
            merged.append(piece)
    return tuple(merged)
