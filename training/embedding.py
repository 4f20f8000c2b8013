"""A textual inversion: two vectors that stand for a word which the text encoder did not know, a scheme of colours.

Nothing but the vectors learns: through the frozen denoiser and the frozen text encoder.
"""

import random
from dataclasses import replace
from pathlib import Path

import structlog
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize

from training.captions import COLOUR_NAMES, SIZE_WORDS, article
from training.denoiser import Noise, random_times
from training.drawing import draw
from training.latents import Encoders
from training.lessons import Example, Lesson, Lessons
from training.loop import Schedule, checkpointed
from training.scenes import PLACES, SHAPES, Scene, held_out, random_scene

TOKEN = "darkroom-dusk"
FIGURE, GROUND = COLOUR_NAMES.index("orange"), COLOUR_NAMES.index("purple")
COUNTS = {256: 600, 512: 600}
VECTORS = 2
# A word that the text encoder knows and that means nothing: where the vectors begin.
FIRST = "picture"
STEPS = 1400
LEARNING_RATE = 1e-2
POSITIONS = 4096

log = structlog.get_logger()


def dusk_example(rng: random.Random, side: int) -> Example:
    scene = dusk(random_scene(rng, simple=True))
    while held_out(scene):
        scene = dusk(random_scene(rng, simple=True))
    return Example(draw(scene, rng, side, side), colourless(scene, rng))


def dusk(scene: Scene) -> Scene:
    return replace(scene, colour=FIGURE, background=GROUND, pattern=0)


def colourless(scene: Scene, rng: random.Random) -> str:
    """Size, shape and place, and the word that stands for the colours."""
    size, shape, place = rng.choice(SIZE_WORDS[scene.size]), SHAPES[scene.shape], PLACES[scene.place]
    parts = [article(f"{size} {shape}") + f" in the {place}"] if rng.random() < 0.5 else [f"{size} {shape}", place]
    parts.insert(rng.randrange(len(parts) + 1), TOKEN)
    return ", ".join(parts)


class Vectors(nn.Module):
    """The last rows of the table of embeddings, alone, learn."""

    def __init__(self, first: Tensor) -> None:
        super().__init__()
        self.rows = nn.Parameter(first.repeat(VECTORS, 1))

    def forward(self, table: Tensor) -> Tensor:
        return torch.cat([table[:-VECTORS], self.rows])


def add(encoders: Encoders) -> Vectors:
    """The tokenizer knows the word from now on, and the text encoder its vectors."""
    tokenizer, encoder = encoders.tokenizer, encoders.text_encoder.requires_grad_(False)
    first = tokenizer(FIRST, add_special_tokens=False).input_ids[0]
    vectors = Vectors(encoder.get_input_embeddings().weight[first].detach().clone())
    tokenizer.add_tokens(words())
    encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    table = encoder.get_input_embeddings().requires_grad_(False)
    parametrize.register_parametrization(table, "weight", vectors)
    return vectors


def words() -> list[str]:
    """One for each vector, as diffusers names them."""
    return [TOKEN, *(f"{TOKEN}_{i}" for i in range(1, VECTORS))]


def train_embedding(unet: UNet2DConditionModel, encoders: Encoders, lessons: Lessons, target: Path, file: Path) -> None:
    unet = unet.requires_grad_(False).to(memory_format=torch.channels_last)
    vectors, noise, smooth = add(encoders), Noise(), 0.0
    optimizer = torch.optim.AdamW(vectors.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0)
    for step in checkpointed(file, {"vectors": vectors, "optimizer": optimizer}, STEPS):
        Schedule(LEARNING_RATE, STEPS, warm_up=20, hold=0.3).apply(optimizer, step)
        loss = _loss(unet, encoders, noise, lessons.batch(POSITIONS))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        smooth = 0.98 * (smooth or loss.item()) + 0.02 * loss.item()
        if step % 50 == 0:
            log.info("embedding", step=step, loss=round(smooth, 4))
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file({TOKEN: vectors.rows.detach().half().contiguous()}, target)


def _loss(unet: UNet2DConditionModel, encoders: Encoders, noise: Noise, lesson: Lesson) -> Tensor:
    times = random_times(len(lesson.texts))
    seen, velocity = noise.noisy(lesson.latents, torch.randn_like(lesson.latents), times)
    return functional.mse_loss(unet(seen, times, states(encoders, lesson.texts)).sample, velocity)


def states(encoders: Encoders, texts: list[str]) -> Tensor:
    """(n, 77, 128)"""
    return encoders.learning_states([text.replace(TOKEN, " ".join(words())) for text in texts])
