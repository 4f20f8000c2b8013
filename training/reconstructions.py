"""Pictures as the model's own decoder draws them, for the companions that look at its work.

Each went through the autoencoder, with a little noise on its latents. Shards are files, made from their own seeds, so
that a run that is cut makes only what is missing.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from PIL import Image

from training.autoencoder import to_tensor
from training.drawing import draw
from training.scenes import Scene, random_scene

BATCH = 4
LARGER = 4
# Of the latents' deviation, which is 1: what a denoiser leaves.
LATENT_NOISE = (0.0, 0.2)


@dataclass(frozen=True, slots=True)
class Drawing:
    """A scene, its size in pixels, and the seed of its strokes."""

    scene: Scene
    seed: int
    width: int
    height: int

    def large(self) -> NDArray[np.uint8]:
        """Four times as wide and high."""
        return draw(self.scene, random.Random(self.seed), LARGER * self.width, LARGER * self.height)

    def small(self) -> NDArray[np.uint8]:
        """By the mean of pixels: drawn anew at this size, edges would lie up to a large pixel elsewhere."""
        return np.asarray(Image.fromarray(self.large()).reduce(LARGER))


@dataclass(frozen=True, slots=True)
class Shard:
    """`count` pictures of one size in pixels."""

    side: int
    number: int
    count: int

    @property
    def name(self) -> str:
        return f"{self.side}_{self.number}.pt"

    def drawings(self) -> Iterator[Drawing]:
        rng = random.Random(f"reconstructed {self.name}")
        for _ in range(self.count):
            yield Drawing(random_scene(rng), rng.randrange(2**31), self.side, self.side)


SHARDS = (*(Shard(256, i, 400) for i in range(4)), Shard(384, 0, 200), Shard(512, 0, 120))


class Reconstructions:
    """All shards in memory: half a gigabyte."""

    def __init__(self, folder: Path) -> None:
        self._pairs: list[tuple[Drawing, NDArray[np.uint8]]] = []
        for shard in SHARDS:
            pictures = torch.load(folder / shard.name, weights_only=True).numpy()
            self._pairs += zip(shard.drawings(), pictures, strict=True)

    def any(self, rng: random.Random) -> tuple[Drawing, NDArray[np.uint8]]:
        """What was drawn, and how it came back, (side, side, 3)."""
        return rng.choice(self._pairs)


def make_reconstructions(autoencoder: Path, folder: Path) -> None:
    model = open_autoencoder(autoencoder)
    folder.mkdir(parents=True, exist_ok=True)
    for shard in SHARDS:
        if not (folder / shard.name).exists():
            _make(shard, model, folder / shard.name)


def open_autoencoder(folder: Path) -> AutoencoderKL:
    model = AutoencoderKL.from_pretrained(folder, torch_dtype=torch.float32)
    return model.eval().to(memory_format=torch.channels_last)


def _make(shard: Shard, model: AutoencoderKL, file: Path) -> None:
    torch.manual_seed(shard.number)
    rng = random.Random(f"noise {shard.name}")
    drawn = [drawing.small() for drawing in shard.drawings()]
    pictures = [
        reconstructed(model, drawn[first : first + BATCH], rng.uniform(*LATENT_NOISE))
        for first in range(0, len(drawn), BATCH)
    ]
    torch.save(torch.from_numpy(np.concatenate(pictures)), file.with_suffix(".half"))
    os.replace(file.with_suffix(".half"), file)


@torch.inference_mode()
def reconstructed(model: AutoencoderKL, pictures: list[NDArray[np.uint8]], noise: float = 0.0) -> NDArray[np.uint8]:
    """(n, height, width, 3)"""
    latents = model.encode(to_tensor(pictures)).latent_dist.mean
    seen = model.decode(latents + noise * torch.randn_like(latents)).sample
    return np.asarray(seen.clamp(-1, 1).add(1).mul(127.5).round().to(torch.uint8).permute(0, 2, 3, 1))
