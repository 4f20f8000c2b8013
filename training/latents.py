"""The training set as the denoiser reads it: pictures encoded once, with the text states of two captions each.

Shards are files, made from their own seeds, so that a run that is cut makes only what is missing.
"""

import os
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from training.autoencoder import to_tensor
from training.captions import caption
from training.drawing import draw
from training.scenes import random_scene

CAPTIONS = 2
BATCH = 8


@dataclass(frozen=True, slots=True)
class Shard:
    """`count` pictures of one size in pixels. `simple` ones hold one figure on a plain ground."""

    width: int
    height: int
    number: int
    count: int
    simple: bool

    @property
    def name(self) -> str:
        return f"{self.width}x{self.height}_{self.number}{'_simple' if self.simple else ''}.pt"


def shards() -> list[Shard]:
    """The whole set, in the order in which training asks for it: 24,000 pictures of 256×256, 4,000 of 384×384 and
    about 9,900 of 512×512 and above."""
    small = [Shard(256, 256, i, 1000, i < 10) for i in range(24)]
    middle = [Shard(384, 384, i, 800, i < 3) for i in range(5)]
    large = [Shard(512, 512, i, 320, i < 3) for i in range(24)]
    other = ((512, 768, 240), (768, 512, 240), (640, 640, 240), (768, 768, 240), (1024, 1024, 160))
    odd = [Shard(width, height, i, count, False) for i in range(2) for width, height, count in other]
    return small + middle + large + odd


class Encoders:
    """The frozen parts: text to states, pictures to latents."""

    def __init__(self, tokenizer: Path, text_encoder: Path, autoencoder: Path) -> None:
        self.tokenizer = CLIPTokenizer.from_pretrained(tokenizer)
        self.text_encoder = CLIPTextModel.from_pretrained(text_encoder, dtype=torch.float32).eval()
        self.autoencoder = AutoencoderKL.from_pretrained(autoencoder).eval().to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def states(self, texts: list[str]) -> Tensor:
        """(n, 77, 128)"""
        return self.learning_states(texts)

    def learning_states(self, texts: list[str]) -> Tensor:
        """The same, through which what was added to the text encoder learns."""
        tokens = self.tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        return self.text_encoder(tokens).last_hidden_state

    @torch.inference_mode()
    def latents(self, pictures: Tensor) -> Tensor:
        """(n, 8, height / 16, width / 16), deviation 1."""
        return self.autoencoder.encode(pictures).latent_dist.mean * self.autoencoder.config.scaling_factor


def make_shard(shard: Shard, encoders: Encoders, folder: Path) -> None:
    """Latents in float16, (n, 8, h, w), and states in float16, (captions, n, 77, 128)."""
    file = folder / shard.name
    if file.exists():
        return
    rng = random.Random(f"{shard.name}")
    latents, states = [], []
    for _ in range(-(-shard.count // BATCH)):
        scenes = [random_scene(rng, simple=shard.simple) for _ in range(BATCH)]
        pictures = to_tensor([draw(scene, rng, shard.width, shard.height) for scene in scenes])
        latents.append(encoders.latents(pictures).half())
        texts = [caption(scene, rng).text for _ in range(CAPTIONS) for scene in scenes]
        states.append(encoders.states(texts).half().unflatten(0, (CAPTIONS, BATCH)))
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({"latents": torch.cat(latents), "states": torch.cat(states, 1)}, file.with_suffix(".half"))
    os.replace(file.with_suffix(".half"), file)
