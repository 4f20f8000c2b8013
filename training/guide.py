"""The canny ControlNet: a copy of the denoiser's way down that reads edges as well and tells the denoiser what it saw.

Half of the captions name colours alone, so that what has a shape and a place can be known from the edges only.
"""

import copy
import random
from pathlib import Path

import numpy as np
import structlog
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from jobs.canny import edges
from training.captions import COLOUR_NAMES, article, caption
from training.denoiser import Noise, follow, random_times
from training.drawing import draw
from training.latents import Encoders
from training.lessons import Example, Lesson, Lessons
from training.loop import Schedule, checkpointed
from training.scenes import Scene, random_scene

COUNTS = {256: 1600, 512: 1600}
# Of latents in a batch: 16 pictures of 256×256, 4 of 512×512.
POSITIONS = 4096
STEPS = 4000
LEARNING_RATE = 1e-3
ONLY_COLOURS = 0.6
EMPTY_CAPTIONS = 0.1
AVERAGE = 0.995
# Of the network that reads the edges; each but the first halves the sides: 16 pixels become one position.
EDGE_CHANNELS = (4, 8, 16, 32, 64)

log = structlog.get_logger()


def edge_example(rng: random.Random, side: int) -> Example:
    scene = random_scene(rng)
    picture = draw(scene, rng, side, side)
    text = only_colours(scene, rng) if rng.random() < ONLY_COLOURS else caption(scene, rng).text
    return Example(picture, text, edges(picture))


def only_colours(scene: Scene, rng: random.Random) -> str:
    """Words that leave shape, size, place and number to the edges."""
    figures = [scene.colour] if scene.other_colour is None else [scene.colour, scene.other_colour]
    colours = " and ".join(COLOUR_NAMES[colour] for colour in figures)
    ground = f"{COLOUR_NAMES[scene.background]} background"
    return f"{colours}, {ground}" if rng.random() < 0.5 else f"{colours} on {article(ground)}"


def new_guide(unet: UNet2DConditionModel) -> ControlNetModel:
    """`ControlNetModel.from_unet` would forget how many heads pool the text, and read 8 pixels to a position."""
    given = ControlNetModel._get_init_keys(ControlNetModel) & set(unet.config)
    config = {name: unet.config[name] for name in given} | {"conditioning_embedding_out_channels": EDGE_CHANNELS}
    guide = ControlNetModel(**config).to(memory_format=torch.channels_last)
    copied = {name: value for name, value in unet.state_dict().items() if name in guide.state_dict()}
    guide.load_state_dict(copied, strict=False)
    return guide


def train_guide(unet: UNet2DConditionModel, encoders: Encoders, lessons: Lessons, folder: Path, file: Path) -> None:
    unet = unet.requires_grad_(False).to(memory_format=torch.channels_last)
    guide = new_guide(unet).train()
    noise, average = Noise(), copy.deepcopy(guide)
    optimizer = torch.optim.AdamW(guide.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    smooth = 0.0
    for step in checkpointed(file, {"guide": guide, "average": average, "optimizer": optimizer}, STEPS):
        Schedule(LEARNING_RATE, STEPS, hold=0.4).apply(optimizer, step)
        loss = _loss(unet, guide, encoders, noise, lessons.batch(POSITIONS))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(guide.parameters(), 1.0)
        optimizer.step()
        follow(average, guide, min(AVERAGE, (1 + step) / (10 + step)))
        smooth = 0.98 * (smooth or loss.item()) + 0.02 * loss.item()
        if step % 100 == 0:
            log.info("guide", step=step, loss=round(smooth, 4))
    average.eval().half().save_pretrained(folder)


def _loss(
    unet: UNet2DConditionModel, guide: ControlNetModel, encoders: Encoders, noise: Noise, lesson: Lesson
) -> Tensor:
    kept = torch.rand(len(lesson.texts)) > EMPTY_CAPTIONS
    texts = [text if keep else "" for text, keep in zip(lesson.texts, kept, strict=True)]
    states, times = encoders.states(texts).clone(), random_times(len(texts))
    seen, velocity = noise.noisy(lesson.latents, torch.randn_like(lesson.latents), times)
    down, middle = guide(seen, times, states, controlnet_cond=lesson.edges, return_dict=False)
    told = unet(seen, times, states, down_block_additional_residuals=down, mid_block_additional_residual=middle).sample
    return functional.mse_loss(told, velocity)


def kept_edges(wanted: NDArray[np.bool_], picture: NDArray[np.uint8], reach: int = 6) -> float:
    """How well a picture's edges lie on the wanted ones, 0 to 1: the harmonic mean of the share of the picture's that
    have a wanted one within `reach` pixels, and the share of the wanted that have one of the picture's."""
    found = edges(picture)
    if not found.any() or not wanted.any():
        return 0.0
    meant, met = _near(wanted, reach)[found].mean(), _near(found, reach)[wanted].mean()
    return float(2 * meant * met / max(meant + met, 1e-9))


def _near(marks: NDArray[np.bool_], reach: int) -> NDArray[np.bool_]:
    return np.asarray(ndimage.distance_transform_edt(~marks) <= reach)
