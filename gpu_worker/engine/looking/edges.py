"""What is made of how surely there are edges. It finds none.

Source: the ControlNet extension of the web UI, annotator/util (`safe_step`, `nms`), its `scribble_hed` and
`pidinet_ts`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Map = NDArray[np.floating[Any]]
Gray = NDArray[np.uint8]

_STEPS = 2
_LIKELY = 0.5
_BLUR_PX = 3
_RIDGE, _STROKE = 127, 4
_LINES = [np.array(each, bool) for each in (
    [[0, 0, 0], [1, 1, 1], [0, 0, 0]],
    [[0, 1, 0], [0, 1, 0], [0, 1, 0]],
    [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    [[0, 0, 1], [0, 1, 0], [1, 0, 0]],
)]  # fmt: skip


def soft(edges: Map) -> Gray:
    """Of 0 to 1, white is an edge."""
    return (edges * 255).clip(0, 255).astype(np.uint8)


def safe(edges: Map) -> Gray:
    """In three shades, that a faint copy of the picture cannot hide in."""
    return soft(np.floor(edges * (_STEPS + 1)).astype(np.float32) / _STEPS)


def sketch(edges: Map) -> Gray:
    """What is more likely an edge than not."""
    return soft((edges > _LIKELY).astype(np.float32))


def scribble(edges: Map) -> Gray:
    """The ridges alone, as wide as a brush draws."""
    # As far as OpenCV looks, which is less in whole shades.
    blurred = ndimage.gaussian_filter(soft(edges).astype(np.float32), _BLUR_PX, mode="mirror", truncate=4)
    is_ridge = np.logical_or.reduce([_highest(blurred, line) == blurred for line in _LINES])
    ridges = np.where(is_ridge & (blurred > _RIDGE), np.float32(255), np.float32(0))
    strokes = ndimage.gaussian_filter(ridges, _BLUR_PX, mode="mirror", truncate=3)
    return np.where(strokes.round() > _STROKE, 255, 0).astype(np.uint8)


def _highest(values: Map, line: NDArray[np.bool_]) -> Map:
    return np.asarray(ndimage.maximum_filter(values, footprint=line, mode="constant", cval=-np.inf))
