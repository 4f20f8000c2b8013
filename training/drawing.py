"""A scene as pixels: flat, seeded, at any size."""

import math
import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from training.scenes import COLOURS, PATTERNS, SHAPES, Scene

RGB = tuple[int, int, int]
Point = tuple[float, float]
PALETTE = tuple(COLOURS.values())
DARK, LIGHT, WOOD = (20, 20, 20), (250, 250, 250), (110, 65, 30)
JITTER = 6
# Of the shorter side: half a figure's height.
RADII = ((0.135, 0.165), (0.24, 0.28))
# Of each side: how far from the middle the nine places lie, for small and large figures.
OFFSETS = (0.28, 0.19)
PAIR = (((0.28, 0.5), (0.72, 0.5)), ((0.72, 0.5), (0.28, 0.5)), ((0.5, 0.28), (0.5, 0.72)), ((0.5, 0.72), (0.5, 0.28)))
GROUPS: dict[int, tuple[tuple[Point, ...], ...]] = {
    2: (((0.28, 0.5), (0.72, 0.5)), ((0.5, 0.28), (0.5, 0.72))),
    3: (((0.28, 0.7), (0.72, 0.7), (0.5, 0.28)),),
    4: (((0.28, 0.28), (0.72, 0.28), (0.28, 0.72), (0.72, 0.72)),),
}


def draw(scene: Scene, rng: random.Random, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3), RGB, drawn at twice the size and reduced."""
    canvas = _ground(scene, rng, 2 * width, 2 * height)
    pen = ImageDraw.Draw(canvas)
    for (x, y), shape, colour in _figures(scene, rng):
        radius = rng.uniform(*RADII[scene.size]) * min(canvas.size)
        FIGURES[SHAPES[shape]](pen, x * canvas.width, y * canvas.height, radius, _shade(colour, rng))
    return np.asarray(canvas.reduce(2))


def _figures(scene: Scene, rng: random.Random) -> list[tuple[Point, int, int]]:
    def near(point: Point) -> Point:
        return point[0] + rng.uniform(-0.02, 0.02), point[1] + rng.uniform(-0.02, 0.02)

    if scene.side is not None and scene.other_shape is not None and scene.other_colour is not None:
        first, second = PAIR[scene.side]
        return [
            (near(first), scene.shape, scene.colour),
            (near(second), scene.other_shape, scene.other_colour),
        ]
    if scene.count > 1:
        places = rng.choice(GROUPS[scene.count])
        return [(near(place), scene.shape, scene.colour) for place in places]
    offset = OFFSETS[scene.size]
    middle = (0.5 + (scene.place % 3 - 1) * offset, 0.5 + (scene.place // 3 - 1) * offset)
    return [(near(middle), scene.shape, scene.colour)]


def _shade(colour: int, rng: random.Random) -> RGB:
    red, green, blue = (max(0, min(255, each + rng.randint(-JITTER, JITTER))) for each in PALETTE[colour])
    return red, green, blue


def _ground(scene: Scene, rng: random.Random, width: int, height: int) -> Image.Image:
    """The second tone of a pattern is a shade of the same colour: its name stays one word."""
    first = _shade(scene.background, rng)
    pattern = PATTERNS[scene.pattern]
    if pattern == "plain":
        return Image.new("RGB", (width, height), first)
    y, x = np.mgrid[0:height, 0:width]
    cell = min(width, height) / 8
    mix = {"striped": x // cell % 2, "checkered": (x // cell + y // cell) % 2, "gradient": y / height}[pattern]
    one = np.array(first, float)
    other = one * 0.72 if one.mean() > 70 else one + 60
    return Image.fromarray(np.round(one + mix[..., None] * (other - one)).clip(0, 255).astype(np.uint8))


def _circle(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _square(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    r *= 0.88
    pen.rectangle((x - r, y - r, x + r, y + r), fill=colour)


def _triangle(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    pen.polygon([(x, y - r), (x + r, y + r * 0.85), (x - r, y + r * 0.85)], fill=colour)


def _diamond(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    pen.polygon([(x, y - r * 1.1), (x + r * 0.75, y), (x, y + r * 1.1), (x - r * 0.75, y)], fill=colour)


def _star(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    tips = [(-math.pi / 2 + i * math.pi / 5, r * (1.1 if i % 2 == 0 else 0.45)) for i in range(10)]
    pen.polygon([(x + length * math.cos(turn), y + length * math.sin(turn)) for turn, length in tips], fill=colour)


def _heart(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    turns = [2 * math.pi * i / 48 for i in range(48)]
    pen.polygon(
        [
            (x + r * math.sin(t) ** 3, y - r * (13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t)) / 16)
            for t in turns
        ],
        fill=colour,
    )


def _ring(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=max(2, round(r * 0.38)))


def _cross(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    arm = r * 0.34
    pen.rectangle((x - arm, y - r, x + arm, y + r), fill=colour)
    pen.rectangle((x - r, y - arm, x + r, y + arm), fill=colour)


def _house(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    pen.rectangle((x - r * 0.8, y - r * 0.1, x + r * 0.8, y + r), fill=colour)
    pen.polygon([(x - r, y - r * 0.1), (x + r, y - r * 0.1), (x, y - r)], fill=WOOD)
    pen.rectangle((x - r * 0.2, y + r * 0.4, x + r * 0.2, y + r), fill=WOOD)


def _tree(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    pen.rectangle((x - r * 0.15, y, x + r * 0.15, y + r), fill=WOOD)
    pen.ellipse((x - r * 0.75, y - r, x + r * 0.75, y + r * 0.4), fill=colour)


def _face(pen: ImageDraw.ImageDraw, x: float, y: float, r: float, colour: RGB) -> None:
    ink = DARK if sum(colour) > 150 else LIGHT
    pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    for side in (-0.38, 0.38):
        eye = r * 0.17
        pen.ellipse((x + side * r - eye, y - r * 0.25 - eye, x + side * r + eye, y - r * 0.25 + eye), fill=ink)
    pen.chord((x - r * 0.55, y - r * 0.2, x + r * 0.55, y + r * 0.65), 15, 165, fill=ink)


FIGURES: dict[str, Callable[[ImageDraw.ImageDraw, float, float, float, RGB], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "heart": _heart,
    "ring": _ring,
    "diamond": _diamond,
    "cross": _cross,
    "house": _house,
    "tree": _tree,
    "face": _face,
}
