"""A device whose memory ends early: the real calls of torch that take the most memory raise its real error."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.nn import functional


@dataclass
class SmallDevice:
    """What one call may make at most: rows and pixels of a convolution, and scores of attention."""

    rows: float = float("inf")
    pixels: float = float("inf")
    scores: float = float("inf")
    refusals: list[str] = field(default_factory=list)

    def check(self, what: str, needed: float, most: float) -> None:
        if needed > most:
            self.refusals.append(what)
            raise torch.OutOfMemoryError(f"CUDA out of memory: {what}")


def install(device: SmallDevice, monkeypatch: pytest.MonkeyPatch) -> SmallDevice:
    convolve, attend = functional.conv2d, functional.scaled_dot_product_attention

    def conv2d(pixels: Any, *arguments: Any, **options: Any) -> Any:
        device.check("rows", len(pixels), device.rows)
        device.check("pixels", pixels.shape[-1] * pixels.shape[-2], device.pixels)
        return convolve(pixels, *arguments, **options)

    def attention(query: Any, key: Any, *arguments: Any, **options: Any) -> Any:
        device.check("scores", query.shape[-2] * key.shape[-2], device.scores)
        return attend(query, key, *arguments, **options)

    monkeypatch.setattr(functional, "conv2d", conv2d)
    monkeypatch.setattr(functional, "scaled_dot_product_attention", attention)
    return device
