"""What a picture shows, by geometry: no network marks another's work.

The ground is the border's median colour; the figure, the largest connected region that differs from it. Its mask is
compared with each shape's own drawing. On drawings themselves the judge is right in more than 99 of 100.
"""

import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from training.drawing import OFFSETS, draw
from training.scenes import COLOURS, SHAPES, Scene

PALETTE = np.array(list(COLOURS.values()), float)
FIELDS = ("background", "colour", "shape", "size", "place")
MASK_SIDE = 48
SMALLEST_SHARE = 0.004
BETWEEN_SIZES = 0.2
# Of a face's area: eyes and mouth take a tenth to a fifth.
FEATURES = (0.05, 0.4)
WHITE, GRAY = 7, 9


@dataclass(frozen=True, slots=True)
class Seen:
    """Positions in the tuples of `scenes`; −1 where there is no figure. `likeness` is the shape's overlap, 0 to 1;
    the figure's middle is in shares of the picture's sides."""

    background: int
    colour: int = -1
    shape: int = -1
    size: int = -1
    place: int = -1
    likeness: float = 0.0
    x: float = 0.0
    y: float = 0.0

    def right(self, scene: Scene) -> dict[str, bool]:
        return {name: getattr(self, name) == getattr(scene, name) for name in FIELDS}


def look(picture: NDArray[np.uint8]) -> Seen:
    """`picture` is (height, width, 3)."""
    pixels = picture.astype(float)
    ground = _ground(pixels)
    background = _nearest(ground)
    figure = _figure(pixels, ground)
    if figure is None:
        return Seen(background)
    rows, columns = np.nonzero(figure)
    height, width = figure.shape
    radius = max(np.ptp(rows), np.ptp(columns)) / 2 / min(height, width)
    size = int(radius > BETWEEN_SIZES)
    y, x = (rows.min() + rows.max()) / 2 / height, (columns.min() + columns.max()) / 2 / width
    place = 3 * _third(y, size) + _third(x, size)
    shape, likeness = _shape(figure)
    if SHAPES[shape] in ("circle", "face"):
        shape = SHAPES.index("face" if _has_features(pixels, figure) else "circle")
    colour = _nearest(_main_colour(pixels, figure, shape))
    return Seen(background, colour, shape, size, place, likeness, x, y)


def _ground(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    edge = max(4, min(pixels.shape[:2]) // 32)
    border = [pixels[:edge], pixels[-edge:], pixels[:, :edge], pixels[:, -edge:]]
    return np.asarray(np.median(np.concatenate([each.reshape(-1, 3) for each in border]), axis=0))


def _figure(pixels: NDArray[np.float64], ground: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    difference = np.sqrt(((pixels - ground) ** 2).sum(2))
    mask = difference > max(40, 0.35 * np.percentile(difference, 99.5))
    # Closed first: where two colours meet, their blend can be the ground's.
    whole = ndimage.binary_opening(ndimage.binary_closing(mask, iterations=3), iterations=2)
    labels, count = ndimage.label(whole)
    if not count:
        return None
    largest = 1 + int(np.argmax(ndimage.sum_labels(whole, labels, range(1, count + 1))))
    figure: NDArray[np.bool_] = labels == largest
    return figure if figure.mean() > SMALLEST_SHARE else None


def _third(middle: float, size: int) -> int:
    return 1 + int(np.clip(round((middle - 0.5) / OFFSETS[size]), -1, 1))


def _nearest(colour: NDArray[np.float64]) -> int:
    return int(((PALETTE - colour) ** 2).sum(1).argmin())


def _main_colour(pixels: NDArray[np.float64], figure: NDArray[np.bool_], shape: int) -> NDArray[np.float64]:
    """Houses and trees are part wood: their colour is that of their own upper or middle part."""
    rows = np.nonzero(figure.any(1))[0]
    part = figure.copy()
    if SHAPES[shape] == "tree":
        part[(rows[0] + rows[-1]) // 2 :] = False
    if SHAPES[shape] == "house":
        part[: (rows[0] + rows[-1]) // 2] = False
    return np.asarray(np.median(pixels[part if part.any() else figure], axis=0))


def _has_features(pixels: NDArray[np.float64], figure: NDArray[np.bool_]) -> bool:
    """Whether the disc holds eyes and a mouth: a face and a circle have one outline."""
    inner = ndimage.binary_erosion(figure, iterations=max(2, min(figure.shape) // 64))
    colours = pixels[inner]
    if not len(colours):
        return False
    other = np.sqrt(((colours - np.median(colours, axis=0)) ** 2).sum(1)) > 60
    return bool(FEATURES[0] < other.mean() < FEATURES[1])


def _shape(figure: NDArray[np.bool_]) -> tuple[int, float]:
    mask = _normalised(figure)
    overlaps = [np.minimum(mask, each).sum() / np.maximum(mask, each).sum() for each in _templates()]
    best = int(np.argmax(overlaps))
    return best, float(overlaps[best])


@cache
def _templates() -> list[NDArray[np.float64]]:
    return [_normalised(_template(shape)) for shape in range(len(SHAPES))]


def _template(shape: int) -> NDArray[np.bool_]:
    # On gray, so that roof, trunk, eyes and mouth count as they do in pictures.
    scene = Scene(background=GRAY, shape=shape, colour=WHITE, size=1, place=4)
    pixels = draw(scene, random.Random(0), 384, 384).astype(float)
    figure = _figure(pixels, _ground(pixels))
    assert figure is not None
    return figure


def _normalised(figure: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mask, cropped and centred in a square of its longer side."""
    rows, columns = np.nonzero(figure)
    crop = figure[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    side = max(crop.shape)
    square = np.zeros((side, side), np.uint8)
    y, x = (side - crop.shape[0]) // 2, (side - crop.shape[1]) // 2
    square[y : y + crop.shape[0], x : x + crop.shape[1]] = 255 * crop
    return np.asarray(Image.fromarray(square).resize((MASK_SIDE, MASK_SIDE), Image.Resampling.BILINEAR)) / 255.0
