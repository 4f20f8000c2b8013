"""Canny's edges, as OpenCV finds them: what canny ControlNets are trained on and fed with. It blurs nothing first.

Source: Canny 1986, "A Computational Approach to Edge Detection"; the choices that the paper leaves open (3×3 Sobel,
the sum of both absolute gradients, of colours the steepest channel, 8 neighbours) are those of `cv2.Canny`.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

LOW, HIGH = 100, 200
_TAN_22_5 = 0.41421356
_TAN_67_5 = 2.41421356


def edges(picture: NDArray[np.uint8], low: float = LOW, high: float = HIGH) -> NDArray[np.bool_]:
    """Where the edges of a picture (height, width, channels) are, one pixel wide: (height, width).

    An edge is steeper than `low` throughout and steeper than `high` somewhere.
    """
    across, down = _gradients(picture)
    steepness = np.abs(across) + np.abs(down)
    thin = _ridges(steepness, across, down) & (steepness > low)
    return _reaching(thin, thin & (steepness > high))


def _gradients(picture: NDArray[np.uint8]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """By columns and by rows; at each pixel of the channel where they are largest."""
    pixels = picture.astype(np.int32)
    across, down = _sobel(pixels, axis=1), _sobel(pixels, axis=0)
    steepest = (np.abs(across) + np.abs(down)).argmax(2)[..., None]
    return np.take_along_axis(across, steepest, 2)[..., 0], np.take_along_axis(down, steepest, 2)[..., 0]


def _sobel(pixels: NDArray[np.int32], *, axis: Literal[0, 1]) -> NDArray[np.int32]:
    # Not ndimage.sobel: it would smooth along the channels as well.
    smooth = ndimage.correlate1d(pixels, (1, 2, 1), axis=1 - axis, mode="nearest")
    return np.asarray(ndimage.correlate1d(smooth, (-1, 0, 1), axis=axis, mode="nearest"))


def _ridges(steepness: NDArray[np.int32], across: NDArray[np.int32], down: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Pixels not less steep than their two neighbours along the gradient; of two equal ones, the first."""
    wide = np.pad(steepness, 1)

    def at(row: int, column: int) -> NDArray[np.int32]:
        return wide[1 + row : 1 + row + steepness.shape[0], 1 + column : 1 + column + steepness.shape[1]]

    level = np.abs(down) < _TAN_22_5 * np.abs(across)
    upright = np.abs(down) > _TAN_67_5 * np.abs(across)
    falling = (across < 0) == (down < 0)
    ridge_level = (steepness > at(0, -1)) & (steepness >= at(0, 1))
    ridge_upright = (steepness > at(-1, 0)) & (steepness >= at(1, 0))
    ridge_falling = (steepness > at(-1, -1)) & (steepness > at(1, 1))
    ridge_rising = (steepness > at(-1, 1)) & (steepness > at(1, -1))
    return np.select([level, upright, falling], [ridge_level, ridge_upright, ridge_falling], ridge_rising)


def _reaching(weak: NDArray[np.bool_], strong: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The connected parts of `weak` that hold a pixel of `strong`."""
    labels, count = ndimage.label(weak, structure=np.ones((3, 3)))
    kept = np.zeros(count + 1, bool)
    kept[labels[strong]] = True
    kept[0] = False
    return np.asarray(kept[labels])
