"""Faces, found without a network: in photographs by a cascade that scikit-image ships, in flat drawings by geometry.

It draws nothing, and knows no other kind of thing.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations
from math import exp
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom."""
Found: TypeAlias = tuple[Box, float]
"""With a confidence of 0 to 1."""
Feature: TypeAlias = tuple[float, float, float]
"""Of a face: x and y of its middle, from that of the face, and its width; the face is 1 wide and high."""
Mask: TypeAlias = NDArray[np.bool_]

# Pictures are looked at in this size, so that faces are as easily found in large ones.
LOOK_PX = 512
SAME = 0.4


def find_faces(picture: Image.Image) -> list[Found]:
    """The likeliest first; of two that overlap, the likelier."""
    scale = min(1.0, LOOK_PX / max(picture.size))
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX))
    found = [*photographed(pixels), *drawn(pixels)]
    kept: list[Found] = []
    for box, confidence in sorted(found, key=lambda each: -each[1]):
        if all(overlap(box, other) < SAME for other, _ in kept):
            kept.append((box, confidence))
    across, down = picture.width / size[0], picture.height / size[1]
    return [((x * across, y * down, right * across, low * down), sure) for (x, y, right, low), sure in kept]


def overlap(one: Box, other: Box) -> float:
    """What both cover, of what either covers."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (_area(one) + _area(other) - width * height)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


# Photographs

SMALLEST_PX = 32
# Windows that agree: of 100 faces of LFW 86 have 12 or more; of things that are none, hardly any has 8.
SURE_AT, BAND = 12, 3


def photographed(pixels: NDArray[np.uint8]) -> Iterator[Found]:
    """By how many windows of the cascade agree on a place."""
    side = max(pixels.shape[:2])
    if side < SMALLEST_PX:
        return
    windows = _cascade().detect_multi_scale(
        img=pixels,
        scale_factor=1.1,
        step_ratio=1,
        min_size=(SMALLEST_PX, SMALLEST_PX),
        max_size=(side, side),
        # Each window for itself: how many agree is for us to count.
        min_neighbor_number=1,
        intersection_score_threshold=1.0,
    )
    boxes = [(each["c"], each["r"], each["c"] + each["width"], each["r"] + each["height"]) for each in windows]
    for group in _groups(boxes):
        box = tuple(float(each) for each in np.mean(group, axis=0))
        yield box, 1 / (1 + exp((SURE_AT - len(group)) / BAND))  # type: ignore[misc]


@cache
def _cascade() -> Any:
    # Late: it takes a while, and few jobs look for faces.
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]


def _groups(boxes: Sequence[Box]) -> list[list[Box]]:
    groups: list[list[Box]] = []
    for box in boxes:
        for group in groups:
            mean = np.mean(group, axis=0)
            if overlap(box, (mean[0], mean[1], mean[2], mean[3])) > SAME:
                group.append(box)
                break
        else:
            groups.append([box])
    return groups


# Drawings: a disc of one colour that holds two eyes side by side and a mouth below them.

# Of the longer side: flat colours need no more, and edges that are soft are steeper in fewer pixels.
DRAWN_PX = 256
# Within one colour neighbours differ by less; by how much less, no single number tells.
FLAT = (8, 12, 18, 27, 40)
SMALLEST_SHARE = 0.002
SMALLEST_FEATURE = 0.004
OTHER_COLOURS = (60, 100)
ROUND = 0.85


def drawn(pixels: NDArray[np.uint8]) -> Iterator[Found]:
    """By how round the disc is, and how well its eyes are a pair."""
    step = max(max(pixels.shape[:2]) // DRAWN_PX, 1)
    values = np.asarray(Image.fromarray(pixels).reduce(step), np.int16)
    contrast = (ndimage.maximum_filter(values, (3, 3, 1)) - ndimage.minimum_filter(values, (3, 3, 1))).max(2)
    for flat in FLAT:
        labels, _ = ndimage.label(contrast < flat)
        for number, place in enumerate(ndimage.find_objects(labels), 1):
            likeness = _likeness(labels[place] == number, values[place], labels.size)
            if likeness > 0:
                rows, columns = place
                # One more on each side: the edge itself is not flat.
                box = (columns.start - 1, rows.start - 1, columns.stop + 1, rows.stop + 1)
                yield (box[0] * step, box[1] * step, box[2] * step, box[3] * step), likeness


def _likeness(flat: Mask, values: NDArray[np.int16], of: int) -> float:
    """0 to 1: whether this region, in its own bounds, is a face. `of` is the size of the whole picture."""
    height, width = flat.shape
    if flat.size < SMALLEST_SHARE * of or not 0.75 < height / width < 1.33:
        return 0.0
    disc = ndimage.binary_fill_holes(flat)
    roundness = _roundness(disc)
    if roundness < ROUND:
        return 0.0
    away = np.sqrt(((values - np.median(values[flat], axis=0)) ** 2).sum(2))
    inside = ndimage.binary_erosion(disc)
    # Eyes that are near each other are one hole; eyes of nearly the disc's colour are no other colour.
    marks = (disc & ~flat, *(inside & (away > least) for least in OTHER_COLOURS))
    return roundness * max(_pairing(_features(each)) for each in marks)


def _features(marks: Mask) -> list[Feature]:
    height, width = marks.shape
    labels, count = ndimage.label(marks)
    features = []
    for number in range(1, count + 1):
        rows, columns = np.nonzero(labels == number)
        if len(rows) > SMALLEST_FEATURE * marks.size:
            features.append((columns.mean() / width - 0.5, rows.mean() / height - 0.5, np.ptp(columns) / width))
    return features


def _roundness(disc: Mask) -> float:
    """The overlap with the ellipse of its bounds."""
    y, x = (np.linspace(-1, 1, length) for length in disc.shape)
    ellipse = (y[:, None] ** 2 + x[None, :] ** 2) <= 1
    return float((disc & ellipse).sum() / (disc | ellipse).sum())


def _pairing(features: Sequence[Feature]) -> float:
    """Whether two of them are eyes, left and right in the upper half, and one a mouth, across the lower."""
    eyes = [each for each in features if each[1] < 0.02 and abs(each[0]) > 0.06]
    if not any(each[1] > 0.02 and abs(each[0]) < 0.15 and each[2] > 0.12 for each in features):
        return 0.0
    pairs = (_evenness(one, other) for one, other in combinations(eyes, 2) if one[0] * other[0] < 0)
    return max(pairs, default=0.0)


def _evenness(one: Feature, other: Feature) -> float:
    return max(0.0, 1 - abs(one[0] + other[0]) - abs(one[1] - other[1]) - abs(one[2] - other[2]))
