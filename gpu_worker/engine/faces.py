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
Place: TypeAlias = tuple[slice, slice]
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
        if all(overlap(box, other) < SAME and not _nested(box, other) for other, _ in kept):
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


def _nested(one: Box, other: Box) -> bool:
    """Whether the middle of the smaller lies in the larger: an eye is no face of its own."""
    small, large = sorted((one, other), key=_area)
    x, y = (small[0] + small[2]) / 2, (small[1] + small[3]) / 2
    return large[0] < x < large[2] and large[1] < y < large[3]


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


# Photographs

SMALLEST_PX = 32
# Windows that agree: of 100 faces of LFW 86 have 12 or more; of things that are none, hardly any has 8.
SURE_AT, BAND = 13, 2.5


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
# Of eyes and mouth, from that of the disc.
OTHER_COLOURS = (45, 70, 100)
# As many times as far from the disc's colour as the rest of the disc is: 7 and more in drawings, 5 in coins.
CLEAR = 6
ROUND = 0.85


def drawn(pixels: NDArray[np.uint8]) -> Iterator[Found]:
    """By how round the disc is, and how well its eyes are a pair."""
    step = max(max(pixels.shape[:2]) // DRAWN_PX, 1)
    values = np.asarray(Image.fromarray(pixels).reduce(step), np.int16)
    contrast = (ndimage.maximum_filter(values, (3, 3, 1)) - ndimage.minimum_filter(values, (3, 3, 1))).max(2)
    for flat in FLAT:
        for place, disc in _discs(contrast < flat):
            likeness = _likeness(disc, values[place])
            if likeness > 0:
                rows, columns = place
                yield (columns.start * step, rows.start * step, columns.stop * step, rows.stop * step), likeness


def _discs(flat: Mask) -> Iterator[tuple[Place, Mask]]:
    """Round parts of one colour, and round holes in one: a disc's colour may run into its eyes, or into its ground."""
    labels, _ = ndimage.label(flat)
    for number, place in enumerate(ndimage.find_objects(labels), 1):
        colour = labels[place] == number
        if colour.size < SMALLEST_SHARE * flat.size:
            continue
        whole = ndimage.binary_fill_holes(colour)
        if _is_disc(whole):
            yield place, whole
        holes, _ = ndimage.label(whole & ~colour)
        for index, inner in enumerate(ndimage.find_objects(holes), 1):
            hole = holes[inner] == index
            if hole.size > SMALLEST_SHARE * flat.size and _is_disc(hole):
                yield _within(place, inner), hole


def _within(outer: Place, inner: Place) -> Place:
    down, across = outer[0].start, outer[1].start
    rows, columns = inner
    return slice(down + rows.start, down + rows.stop), slice(across + columns.start, across + columns.stop)


def _is_disc(region: Mask) -> bool:
    height, width = region.shape
    return 0.75 < height / width < 1.33 and _roundness(region) > ROUND


def _likeness(disc: Mask, values: NDArray[np.int16]) -> float:
    """0 to 1: whether this disc is a face."""
    away = np.sqrt(((values - np.median(values[disc], axis=0)) ** 2).sum(2))
    inside = ndimage.binary_erosion(disc, iterations=2)
    marks = [inside & (away > least) for least in OTHER_COLOURS]
    clear = [each for each in marks if _is_clear(each, inside, away)]
    return _roundness(disc) * max((_pairing(_features(each)) for each in clear), default=0.0)


def _is_clear(marks: Mask, inside: Mask, away: NDArray[np.float64]) -> bool:
    rest = inside & ~marks
    return bool(marks.any() and rest.any() and away[marks].mean() > CLEAR * away[rest].mean())


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
