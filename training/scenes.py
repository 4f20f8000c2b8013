"""What a picture of the training set shows. It neither draws nor speaks."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (40, 80, 220),
    "yellow": (245, 215, 50),
    "orange": (245, 140, 30),
    "purple": (140, 50, 180),
    "pink": (250, 150, 190),
    "white": (250, 250, 250),
    "black": (20, 20, 20),
    "gray": (128, 128, 128),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "diamond", "cross", "house", "tree", "face")
SIZES = ("small", "large")
PLACES = (
    "top left", "top", "top right", "left", "center", "right", "bottom left", "bottom", "bottom right",
)  # fmt: skip
PATTERNS = ("plain", "striped", "checkered", "gradient")
SIDES = ("left of", "right of", "above", "below")
CENTER = PLACES.index("center")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All fields but `count` are positions in the tuples above. A scene has one figure at `place`, or `count`
    equal small ones, or a second one (`other_*`) that the first is `side` of."""

    background: int
    pattern: int = 0
    shape: int
    colour: int
    size: int
    place: int = CENTER
    count: int = 1
    other_shape: int | None = None
    other_colour: int | None = None
    side: int | None = None


def held_out(scene: Scene) -> bool:
    """One in twelve combinations of shape, colour and background is never trained on: evaluations ask for them."""
    return (7 * scene.shape + 3 * scene.colour + scene.background) % 12 == 0


def random_scene(rng: random.Random, *, simple: bool = False) -> Scene:
    """A scene to train on: one figure on a plain ground if `simple`; else one in four is a pattern, a group or a
    pair."""
    return next(scene for scene in _scenes(rng, simple) if not held_out(scene))


def held_out_scene(rng: random.Random, *, simple: bool = True) -> Scene:
    return next(scene for scene in _scenes(rng, simple) if held_out(scene))


def _scenes(rng: random.Random, simple: bool) -> Iterator[Scene]:
    while True:
        yield _any_scene(rng, simple)


def _any_scene(rng: random.Random, simple: bool) -> Scene:
    kind = 0.0 if simple else rng.random()
    background, colour, other = rng.sample(range(len(COLOURS)), 3)
    shape = rng.randrange(len(SHAPES))
    if kind > 0.92:
        return Scene(
            background=background, shape=shape, colour=colour, size=0, count=1,
            other_shape=rng.randrange(len(SHAPES)), other_colour=other, side=rng.randrange(4),
        )  # fmt: skip
    if kind > 0.84:
        return Scene(background=background, shape=shape, colour=colour, size=0, count=rng.randint(2, 4))
    place = CENTER if rng.random() < 0.25 else rng.randrange(9)
    pattern = rng.randint(1, 3) if kind > 0.75 else 0
    return Scene(background=background, pattern=pattern, shape=shape, colour=colour, size=rng.randrange(2), place=place)
