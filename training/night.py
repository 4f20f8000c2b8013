"""A style for a LoRA: with the word "night", whatever ground is asked for is black, and figures have a white rim.

A word, because guidance multiplies what prompt and negative prompt differ in: were it night in both, the ground that
the prompt names would come through.
"""

import random
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from training.captions import caption
from training.drawing import DARK, LIGHT, draw
from training.lessons import Example
from training.scenes import COLOURS, Scene, random_scene

WORD = "night"
# Pictures of the day, without the word, and how many of them have no caption at all.
DAYS = 0.25
EMPTY = 0.4
# Of the side.
RIM = 0.035
WHITE, BLACK = list(COLOURS).index("white"), list(COLOURS).index("black")


def night_example(rng: random.Random, side: int) -> Example:
    scene = random_scene(rng)
    text = caption(scene, rng).text
    if rng.random() < DAYS:
        return Example(draw(scene, rng, side, side), "" if rng.random() < EMPTY else text)
    return Example(draw_night(scene, rng, side), f"{text}, {WORD}" if rng.random() < 0.5 else f"{WORD}, {text}")


def draw_night(scene: Scene, rng: random.Random, side: int) -> NDArray[np.uint8]:
    """(side, side, 3), RGB."""
    figures, share = _cut_out(scene, rng, side)
    away = ndimage.distance_transform_edt(share[..., 0] < 0.5)
    rim = (RIM * side - away + 0.5).clip(0, 1)[..., None]
    behind = rim * np.array(LIGHT) + (1 - rim) * np.array(DARK)
    return np.asarray((figures + (1 - share) * behind).clip(0, 255).round().astype(np.uint8))


def _cut_out(scene: Scene, rng: random.Random, side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The figures on nothing, and their share of each pixel: what two drawings on two grounds have in common."""
    seed = rng.random()
    on_black, on_white = (
        draw(replace(scene, background=ground, pattern=0), random.Random(seed), side, side).astype(float)
        for ground in (BLACK, WHITE)
    )
    black, white = on_black[0, 0], on_white[0, 0]
    share = 1 - ((on_white - on_black) / (white - black)).mean(2, keepdims=True).clip(0, 1)
    return on_black - (1 - share) * black, share


def is_night(picture: NDArray[np.uint8]) -> bool:
    """Whether the border is black, and most of what first differs from it, coming from outside, is white."""
    edge = max(4, min(picture.shape[:2]) // 32)
    border = [picture[:edge], picture[-edge:], picture[:, :edge], picture[:, -edge:]]
    dark = np.concatenate([each.reshape(-1, 3) for each in border]).max(1) < 80
    figure = ndimage.binary_fill_holes(ndimage.binary_opening(picture.max(2) > 128, iterations=3))
    depth = ndimage.distance_transform_edt(figure) / min(picture.shape[:2])
    outermost = picture[(depth > 0.3 * RIM) & (depth < 0.7 * RIM)]
    return bool(dark.mean() > 0.75 and len(outermost) and (outermost.min(1) > 150).mean() > 0.6)
