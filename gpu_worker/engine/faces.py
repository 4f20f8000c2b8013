"""Faces, found without a network: in photographs by a cascade that scikit-image ships, in flat drawings by geometry.

It draws nothing, and knows no other kind of thing.
"""

from collections.abc import Iterator, Sequence
from functools import cache
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

    return Cascade(lbp_frontal_face_cascade_filename())


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
ROUND = 0.85


def drawn(pixels: NDArray[np.uint8]) -> Iterator[Found]:
    """By how round the disc is, and how well its eyes are a pair."""
    step = max(max(pixels.shape[:2]) // DRAWN_PX, 1)
    values = np.asarray(Image.fromarray(pixels).reduce(step), np.int16)
    contrast = ndimage.maximum_filter(values, (3, 3, 1)) - ndimage.minimum_filter(values, (3, 3, 1))
    for flat in FLAT:
        for (left, top, right, bottom), likeness in _discs(contrast.max(2) < flat):
            yield (left * step, top * step, right * step, bottom * step), likeness


def _discs(flat: Mask) -> Iterator[Found]:
    labels, _ = ndimage.label(flat)
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        height, width = (each.stop - each.start for each in place)
        if height * width < SMALLEST_SHARE * labels.size or not 0.75 < height / width < 1.33:
            continue
        likeness = _likeness(labels[place] == number)
        if likeness > 0:
            # The edge itself is not flat.
            yield (place[1].start - 1.0, place[0].start - 1.0, place[1].stop + 1.0, place[0].stop + 1.0), likeness


def _likeness(colour: Mask) -> float:
    """0 to 1: whether this region, in its own bounds, is a face."""
    disc = ndimage.binary_fill_holes(colour)
    roundness = _roundness(disc)
    if roundness < ROUND:
        return 0.0
    height, width = colour.shape
    features = []
    holes, count = ndimage.label(disc & ~colour)
    for number in range(1, count + 1):
        hole = holes == number
        if hole.mean() > SMALLEST_FEATURE:
            rows, columns = np.nonzero(hole)
            features.append((columns.mean() / width - 0.5, rows.mean() / height - 0.5, np.ptp(columns) / width))
    return roundness * _pairing(features)


def _roundness(disc: Mask) -> float:
    """The overlap with the ellipse of its bounds."""
    y, x = (np.linspace(-1, 1, length) for length in disc.shape)
    ellipse = (y[:, None] ** 2 + x[None, :] ** 2) <= 1
    return float((disc & ellipse).sum() / (disc | ellipse).sum())


def _pairing(features: Sequence[tuple[float, float, float]]) -> float:
    """Of (x, y, width), with the middle at 0: two above it, left and right, and one below that lies across."""
    eyes = [each for each in features if each[1] < 0.02 and abs(each[0]) > 0.06]
    mouths = [each for each in features if each[1] > 0.02 and abs(each[0]) < 0.15 and each[2] > 0.2]
    if len(eyes) != 2 or not mouths or eyes[0][0] * eyes[1][0] > 0:
        return 0.0
    (x, y, width), (other_x, other_y, other_width) = eyes
    return max(0.0, 1 - abs(x + other_x) - abs(y - other_y) - abs(width - other_width))
