"""What is taken out of a picture and put back: pixels alone."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpu_worker.engine.inpainting import cut_out, filled, region, resized, softened
from jobs.errors import FatalFailure
from jobs.inpainting import Cut


def picture(width: int = 96, height: int = 64) -> Image.Image:
    return Image.fromarray(np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8))


def mask(box: tuple[int, int, int, int], width: int = 96, height: int = 64) -> Image.Image:
    made = Image.new("RGB", (width, height))
    made.paste("white", box)
    return made


def cut(**fields: Any) -> Cut:
    return Cut(**({"width": 128, "height": 128, "padding_px": 4, "blur_px": 2.0} | fields))


def pixels(image: Any) -> Any:
    return np.asarray(image, dtype=int)


@pytest.mark.parametrize("invert", [False, True])
@pytest.mark.parametrize("padding", [0, 4, None])
def test_what_the_blurred_mask_does_not_reach_keeps_every_bit(invert: bool, padding: int | None) -> None:
    whole, box = picture(), (40, 20, 60, 40)
    # Deviation 2: it reaches 5 pixels, int(2.5 × 2 + 0.5).
    near = pixels(mask((35, 15, 65, 45)))[..., 0] > 0
    inside = pixels(mask((45, 25, 55, 35)))[..., 0] > 0
    fields = {"width": 96, "height": 64} if padding is None else {}

    cutout = cut_out(whole, mask(box), cut(padding_px=padding, invert_mask=invert, **fields))
    result = pixels(cutout.put_back(Image.new("RGB", cutout.mask.size, (1, 2, 3))))

    changed, kept = (inside, ~near) if not invert else (~near, inside)
    assert (result[kept] == pixels(whole)[kept]).all()
    assert (result[changed] == (1, 2, 3)).all()


def test_what_was_cut_out_fits_where_it_came_from() -> None:
    smooth = resized(picture(6, 4), 96, 64, "JUST_RESIZE")

    cutout = cut_out(smooth, mask((40, 20, 60, 30)), cut())

    assert cutout.picture.size == cutout.mask.size == (128, 128)
    assert np.abs(pixels(cutout.put_back(cutout.picture)) - pixels(smooth)).max() <= 4


@pytest.mark.parametrize(
    ("covered", "size", "drawn", "expected"),
    [
        # 20 × 10 and 4 around it are 28 × 18; square, 28 × 28: 5 more above and below.
        ((40, 30, 60, 40), (200, 200), (512, 512), (36, 21, 64, 49)),
        # The same at the top: what cannot grow up grows down.
        ((40, 2, 60, 12), (200, 200), (512, 512), (36, 0, 64, 28)),
        # Higher than wide, drawn twice as wide as high: 18 × 28 becomes 56 × 28.
        ((30, 40, 40, 60), (200, 200), (1024, 512), (7, 36, 63, 64)),
        # The picture is not as high as the ratio wants it.
        ((0, 0, 100, 10), (100, 50), (512, 512), (0, 0, 100, 50)),
    ],
)
def test_the_part_is_the_masks_box_with_padding_in_the_ratio_of_what_is_drawn(
    covered: Any, size: Any, drawn: Any, expected: Any
) -> None:
    assert region(covered, cut(width=drawn[0], height=drawn[1]), size) == expected


def test_a_part_that_cannot_have_the_ratio_goes_on_at_its_edge() -> None:
    flat = Image.new("RGB", (100, 50), (10, 200, 30))

    cutout = cut_out(flat, mask((0, 0, 100, 10), 100, 50), cut(padding_px=0))

    assert cutout.picture.size == (128, 128)
    assert (pixels(cutout.picture) == (10, 200, 30)).all()


@pytest.mark.parametrize(
    ("mode", "corner", "middle"),
    [
        # 96 × 64 with a red frame of 16 pixels, to 64 × 64.
        ("JUST_RESIZE", True, False),
        ("CROP_AND_RESIZE", False, False),
        ("RESIZE_AND_FILL", True, False),
    ],
)
def test_each_resize_mode_shows_of_the_frame_what_it_says(mode: Any, corner: bool, middle: bool) -> None:
    framed = Image.new("RGB", (96, 64), "red")
    framed.paste((0, 0, 255), (16, 0, 80, 64))

    result = pixels(resized(framed, 64, 64, mode))

    assert result.shape == (64, 64, 3)
    assert bool(result[32, 3, 0] > 200) == corner
    assert bool(result[32, 32, 0] > 200) == middle


def test_a_wide_picture_that_is_filled_keeps_its_ratio() -> None:
    # 96 × 48 becomes 64 × 32, with its first and last row 16 times more.
    lined = Image.new("RGB", (96, 48), "blue")
    lined.paste("red", (0, 0, 96, 12))

    result = pixels(resized(lined, 64, 64, "RESIZE_AND_FILL"))

    assert (result[:20, :, 0] > 200).all()
    assert (result[30:, :, 2] > 200).all()


def test_a_blur_keeps_the_masks_weight_and_ends_where_it_says() -> None:
    soft = pixels(softened(mask((40, 20, 60, 40)), 4.0))

    assert soft.sum() == pytest.approx(255 * 20 * 20, rel=0.01)
    # int(2.5 × 4 + 0.5) = 10 pixels.
    assert (soft[:, :30] == 0).all() and (soft[30, 31:40] > 0).all()


def test_filling_brings_colours_in_from_around() -> None:
    two = Image.new("RGB", (96, 64), (200, 0, 0))
    two.paste((0, 0, 200), (48, 0, 96, 64))

    result = pixels(filled(two, mask((30, 10, 66, 54)).convert("L")))

    assert (result[:, :28] == (200, 0, 0)).all()
    assert result[32, 34, 0] > 100 > result[32, 34, 2]
    assert result[32, 61, 2] > 100 > result[32, 61, 0]


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(FatalFailure, match="the mask is 96 × 64, the picture 64 × 64"):
        cut_out(picture(64, 64), mask((0, 0, 9, 9)), cut())


@pytest.mark.parametrize(("invert", "missing"), [(False, "white"), (True, "black")])
def test_a_mask_that_covers_nothing_is_refused(invert: bool, missing: str) -> None:
    plain = Image.new("L", (96, 64), 255 if invert else 0)

    with pytest.raises(FatalFailure, match=f"it has no {missing}"):
        cut_out(picture(), plain, cut(invert_mask=invert))
