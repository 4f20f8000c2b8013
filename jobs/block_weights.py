"""Weights of a LoRA for each block of the denoiser, as they are written. It knows no network.

Source: the presets and places of the LoRA Block Weight extension of AUTOMATIC1111's web UI.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobs.attachments import MAX_WEIGHT
from jobs.catalog import UNET_FAMILIES, Family
from jobs.names import quoted

_FORM = re.compile(r"(?:(?P<weight>-?[0-9.]{1,16}):)?lbw=(?P<blocks>[A-Za-z0-9_.,\-]+)", re.ASCII)
BASE = "BASE"
MIDDLE = "MID"


def _places(inputs: Sequence[int], outputs: Sequence[int]) -> tuple[str, ...]:
    return (BASE, *(f"IN{i:02}" for i in inputs), MIDDLE, *(f"OUT{i:02}" for i in outputs))


CLIP, T5, FLUX_IN, FLUX_OUT = "CLIP", "T5", "IN", "OUT"
# The text encoders of FLUX, what its transformer begins with, its double and single blocks, and what it ends with.
_OF_FLUX = (CLIP, T5, FLUX_IN, *(f"D{i:02}" for i in range(19)), *(f"S{i:02}" for i in range(38)), FLUX_OUT)

# By how many weights there are: of transformers only, or of all blocks; for Stable Diffusion, for XL, and for FLUX.
PLACES = {
    len(places): places
    for places in (
        _places((1, 2, 4, 5, 7, 8), range(3, 12)),
        _places(range(12), range(12)),
        _places((4, 5, 7, 8), range(6)),
        _places(range(9), range(9)),
        _OF_FLUX,
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
    """`weight` is None where the text gives none. `of` is by place, such as IN04; a UNet's text encoder is of BASE."""

    weight: float | None
    of: Mapping[str, float]

    def at(self, place: str) -> float:
        """A place that is not named follows BASE, where there is one."""
        return self.of.get(place, self.of.get(BASE, 1.0))

    def fault_with(self, family: Family) -> str | None:
        """Why they are not for models of this family."""
        is_of_flux, count = CLIP in self.of, len(_OF_FLUX)
        if family is Family.FLUX:
            return None if is_of_flux else f"must have {count} weights for a FLUX model; the presets are for UNets"
        if family not in UNET_FAMILIES:
            return f"is for the blocks of UNets and of FLUX; nobody has numbered those of {family}"
        return f"has the {count} weights of FLUX's blocks, for a {family} model" if is_of_flux else None


def read_block_weights(text: str) -> BlockWeights:
    """Of `<weight>:lbw=<a weight per block, or a preset>`; the weight before may be left out. Raises ValueError."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError("must be '<weight>:lbw=<a weight per block, or a preset>'")
    blocks = found["blocks"]
    values = PRESETS.get(blocks.upper()) or blocks.split(",")
    if len(values) not in PLACES:
        counts = ", ".join(map(str, sorted(PLACES)))
        raise ValueError(f"must have {counts} weights, or one of {quoted(PRESETS)}; it has {len(values)}")
    weight = None if found["weight"] is None else _number(found["weight"])
    return BlockWeights(weight, dict(zip(PLACES[len(values)], map(_number, values), strict=True)))


def _number(text: str) -> float:
    if not re.fullmatch(r"-?([0-9]{1,6}(\.[0-9]{0,9})?|\.[0-9]{1,9})", text, re.ASCII):
        raise ValueError(f"has {text[:16]!r} for a weight")
    if abs(float(text)) > MAX_WEIGHT:
        raise ValueError(f"has the weight {text}; weights are {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}")
    return float(text)
