"""Weights of a LoRA for each block of the denoiser, as they are written. It knows no network.

Source: the presets and places of the LoRA Block Weight extension of AUTOMATIC1111's web UI.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.attachments import MAX_WEIGHT

_FORM = re.compile(r"(?:(?P<weight>-?[0-9.]{1,16}):)?lbw=(?P<blocks>[A-Za-z0-9_.,\-]+)", re.ASCII)
BASE = "BASE"
MIDDLE = "MID"


def _places(inputs: Sequence[int], outputs: Sequence[int]) -> tuple[str, ...]:
    return (BASE, *(f"IN{i:02}" for i in inputs), MIDDLE, *(f"OUT{i:02}" for i in outputs))


# By how many weights there are: of transformers only, or of all blocks; for Stable Diffusion, and for XL.
PLACES = {
    len(places): places
    for places in (
        _places((1, 2, 4, 5, 7, 8), range(3, 12)),
        _places(range(12), range(12)),
        _places((4, 5, 7, 8), range(6)),
        _places(range(9), range(9)),
    )
}
_ON, _OFF, _HALF = "1", "0", ".5"
PRESETS = {
    "NONE": [_OFF] * 17,
    "ALL": [_ON] * 17,
    "INS": [_ON] * 4 + [_OFF] * 13,
    "IND": [_ON] + [_OFF] * 3 + [_ON] * 3 + [_OFF] * 10,
    "INALL": [_ON] * 7 + [_OFF] * 10,
    "MIDD": [_ON] + [_OFF] * 3 + [_ON] * 8 + [_OFF] * 5,
    "OUTD": [_ON] + [_OFF] * 7 + [_ON] * 4 + [_OFF] * 5,
    "OUTS": [_ON] + [_OFF] * 11 + [_ON] * 5,
    "OUTALL": [_ON] + [_OFF] * 7 + [_ON] * 9,
    "ALL0.5": [_HALF] * 17,
}


@dataclass(frozen=True, slots=True)
class BlockWeights:
    """`weight` is None where the text gives none. `of` is by place, such as IN04; the text encoder is of BASE."""

    weight: float | None
    of: Mapping[str, float]

    def at(self, place: str) -> float:
        """A place that is not named follows BASE."""
        return self.of.get(place, self.of[BASE])


def read_block_weights(text: str) -> BlockWeights:
    """Of `<weight>:lbw=<a weight per block, or a preset>`; the weight before may be left out. Raises ValueError."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("must be '<weight>:lbw=<a weight per block>'")
    blocks = found["blocks"]
    values = PRESETS.get(blocks.upper()) or blocks.split(",")
    if len(values) not in PLACES:
        counts = ", ".join(map(str, sorted(PLACES)))
        raise ValueError(f"must have {counts} weights, or one of {', '.join(PRESETS)}; it has {len(values)}")
    weight = None if found["weight"] is None else _number(found["weight"])
    return BlockWeights(weight, dict(zip(PLACES[len(values)], map(_number, values), strict=True)))


def _number(text: str) -> float:
    if not re.fullmatch(r"-?([0-9]{1,6}(\.[0-9]{0,9})?|\.[0-9]{1,9})", text, re.ASCII):
        raise ValueError(f"has {text[:16]!r} for a weight")
    if abs(float(text)) > MAX_WEIGHT:
        raise ValueError(f"has the weight {text}; weights are {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}")
    return float(text)
