"""Bytes from a stranger: what comes out is a plain upright picture, or a refusal, and nothing else."""

import io
import random
from typing import Any

import pytest
from PIL import Image, ImageCms

from jobs.errors import InvalidSubmission
from orchestrator.uploaded_picture import UploadedPicture, read_picture

MAX_PIXELS = 1_000_000


def encoded(format: str, *, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    content = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(content, format, **options)
    return content.getvalue()


def kept(picture: UploadedPicture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png))


async def read(content: bytes) -> UploadedPicture:
    return await read_picture(content, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        ("PNG", "1"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"),
        ("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("WEBP", "RGBA"),
    ],
)  # fmt: skip
async def test_every_kind_of_pixel_becomes_rgb(format: str, mode: str) -> None:
    picture = await read(encoded(format, mode=mode))

    assert (kept(picture).mode, kept(picture).size) == ("RGB", (40, 30))
    assert (picture.width, picture.height) == (40, 30)


async def test_nothing_but_pixels_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format in ("PNG", "JPEG", "WEBP"):
        picture = await read(encoded(format, exif=exif, icc_profile=profile))

        assert kept(picture).info == {}
        assert b"iCCP" not in picture.png and b"eXIf" not in picture.png


async def test_a_transparent_colour_is_a_colour() -> None:
    picture = await read(encoded("PNG", mode="P", transparency=3))

    assert "transparency" not in kept(picture).info


async def test_sixteen_bit_grey_keeps_its_shades() -> None:
    grey = Image.new("I;16", (3, 1))
    for x, level in enumerate((0, 0x8000, 0xFFFF)):
        grey.putpixel((x, 0), level)
    content = io.BytesIO()
    grey.save(content, "PNG")

    picture = kept(await read(content.getvalue()))

    # 0x8000 / 257 = 127.5
    assert [picture.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, pytest.approx((128,) * 3, abs=1), (255,) * 3]


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (8, (30, 40))])
async def test_a_turned_camera_gives_an_upright_picture(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    picture = await read(encoded("JPEG", exif=exif))

    assert (picture.width, picture.height) == size


async def test_a_phones_picture_with_a_second_one_inside_is_its_first() -> None:
    """Phones add a depth map or a smaller copy to a JPEG: the multi-picture format."""
    content = io.BytesIO()
    first, second = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    first.save(content, "MPO", save_all=True, append_images=[second])

    picture = kept(await read(content.getvalue()))

    red = picture.getpixel((20, 15))
    assert isinstance(red, tuple) and red[0] > 200 > 50 > red[2]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
async def test_an_animation_is_refused(format: str) -> None:
    content = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(content, format, save_all=True, append_images=frames[1:])

    with pytest.raises(InvalidSubmission, match="animated"):
        await read(content.getvalue())


async def test_pixels_are_counted_before_they_are_decoded() -> None:
    with pytest.raises(InvalidSubmission, match="2000 × 501 pixels; at most 1000000"):
        await read(encoded("PNG", mode="1", size=(2000, 501)))


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
async def test_other_formats_are_refused_with_those_that_are_taken(format: str) -> None:
    with pytest.raises(InvalidSubmission, match="PNG, JPEG, WEBP"):
        await read(encoded(format))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
async def test_damaged_pictures_are_read_or_refused_and_never_crash(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "a note"
    whole, chance = encoded(format, exif=exif), random.Random(6)

    for _ in range(1500):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(len(whole))])] or b"x")
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(min(len(damaged), chance.choice([60, 10**6])))] = chance.choice(
                [0, 255, chance.randrange(256)]
            )
        try:
            picture = await read(bytes(damaged))
        except InvalidSubmission as refused:
            assert refused.message
        else:
            assert picture.width * picture.height <= MAX_PIXELS
