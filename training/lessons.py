"""What a companion of the model learns from: encoded drawings, their captions and, for a guide, their edges."""

import os
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.autoencoder import to_tensor
from training.latents import Encoders

BATCH = 8


@dataclass(frozen=True, slots=True)
class Example:
    """`edges` is (height, width); None where nobody asks for them."""

    picture: NDArray[np.uint8]
    text: str
    edges: NDArray[np.bool_] | None = None


# A seeded example, square, of a side in pixels.
Artist = Callable[[random.Random, int], Example]


@dataclass(frozen=True, slots=True)
class Lesson:
    """A batch: latents (n, 8, h, w), n texts, and edges (n, 3, 16 h, 16 w) of 0 and 1."""

    latents: Tensor
    texts: list[str]
    edges: Tensor | None


class _Shelf(TypedDict):
    """Examples of one size. Edges are packed, eight pixels to a byte; empty where there are none."""

    latents: Tensor
    texts: list[str]
    edges: Tensor


def make_lessons(file: Path, encoders: Encoders, artist: Artist, counts: dict[int, int]) -> None:
    """`counts` of examples by side."""
    if file.exists():
        return
    rng = random.Random(file.stem)
    shelves = {str(side): _shelf(encoders, artist, rng, side, count) for side, count in counts.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(shelves, file.with_suffix(".half"))
    os.replace(file.with_suffix(".half"), file)


def _shelf(encoders: Encoders, artist: Artist, rng: random.Random, side: int, count: int) -> _Shelf:
    latents, texts, edges = [], [], []
    for _ in range(-(-count // BATCH)):
        examples = [artist(rng, side) for _ in range(BATCH)]
        latents.append(encoders.latents(to_tensor([each.picture for each in examples])).half())
        texts += [each.text for each in examples]
        edges += [np.packbits(each.edges, axis=1) for each in examples if each.edges is not None]
    packed = torch.from_numpy(np.stack(edges)) if edges else torch.empty(0)
    return {"latents": torch.cat(latents), "texts": texts, "edges": packed}


class Lessons:
    def __init__(self, file: Path) -> None:
        shelves: dict[str, _Shelf] = torch.load(file, weights_only=True)
        self._shelves = list(shelves.values())

    def batch(self, positions: int) -> Lesson:
        """Of one size, so many that their latents have about `positions` positions."""
        shelf = self._shelves[int(torch.randint(len(self._shelves), ()))]
        count = positions // shelf["latents"][0, 0].numel()
        chosen = torch.randint(len(shelf["texts"]), (count,))
        latents = shelf["latents"][chosen].float().contiguous(memory_format=torch.channels_last)
        edges = to_hint(np.unpackbits(shelf["edges"][chosen].numpy(), axis=2)) if len(shelf["edges"]) else None
        return Lesson(latents, [shelf["texts"][i] for i in chosen], edges)


def to_hint(edges: NDArray[np.uint8]) -> Tensor:
    """(n, height, width) of 0 and 1 as the three equal channels that a pipeline makes of a picture of edges."""
    return torch.from_numpy(edges).float()[:, None].repeat(1, 3, 1, 1)
