"""The edges that a canny ControlNet is fed: thin, closed, and where they are."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from jobs.canny import edges


def picture(values: NDArray[np.int64]) -> NDArray[np.uint8]:
    return np.repeat(values[..., None], 3, axis=2).astype(np.uint8)


def square(ground: int, figure: int) -> NDArray[np.uint8]:
    values = np.full((64, 64), ground)
    values[16:48, 16:48] = figure
    return picture(values)


def test_a_square_has_one_thin_closed_outline() -> None:
    found = edges(square(0, 255))

    assert ndimage.label(found, structure=np.ones((3, 3)))[1] == 1
    assert ndimage.label(~found)[1] == 2  # inside and outside
    rows, columns = np.nonzero(found)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (15, 47, 15, 47)
    assert found[20:44].sum(1).max() == 2


def test_a_disc_has_one_closed_outline_in_every_direction() -> None:
    y, x = np.mgrid[0:65, 0:65]
    distance = np.hypot(y - 32, x - 32)
    found = edges(picture(np.where(distance < 20, 220, 30)))

    assert np.abs(distance[found] - 20).max() < 1.5
    assert ndimage.label(~found)[1] == 2


@pytest.mark.parametrize(
    ("step", "seen"),
    [
        (24, False),  # 4 × 24 = 96: not above the lower threshold of 100
        (49, False),  # 4 × 49 = 196: above the lower, nowhere above the higher of 200
        (51, True),
    ],
)
def test_a_step_is_an_edge_from_a_quarter_of_the_threshold_on(step: int, seen: bool) -> None:
    values = np.full((32, 32), 100)
    values[:, 16:] += step

    assert edges(picture(values)).any() == seen


def test_a_weak_edge_is_kept_where_it_goes_on_from_a_strong_one() -> None:
    values = np.full((32, 32), 100)
    values[:, 16:] += 40  # weak: 160
    alone = edges(picture(values))
    values[:8, 16:] += 60  # strong: 400

    assert not alone.any()
    assert edges(picture(values))[20:, 14:18].any(1).all()


def test_colours_of_one_brightness_have_an_edge() -> None:
    red_and_blue = np.zeros((32, 32, 3), np.uint8)
    red_and_blue[:, :16, 0] = 200
    red_and_blue[:, 16:, 2] = 200

    assert edges(red_and_blue)[:, 14:18].any(1).all()


def test_lower_thresholds_find_more() -> None:
    assert not edges(square(100, 120)).any()
    assert edges(square(100, 120), low=20, high=40).any()


def test_a_plain_picture_has_no_edges() -> None:
    assert not edges(picture(np.full((16, 16), 77))).any()
