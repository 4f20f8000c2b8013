"""Bytes from a stranger: what comes out is a plain upright picture, or a refusal, and nothing else."""

import io
import random
import zlib
from typing import Any

import pytest
from PIL import Image, ImageCms, PngImagePlugin

from jobs.errors import InvalidSubmission
from orchestrator.uploaded_picture import UploadedPicture, read_picture

MAX_PIXELS = 1_000_000
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# sRGB with red and blue in each other's place.
SWAPPED = SRGB_PROFILE.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")


def _linear_grey() -> bytes:
    """The smallest profile of grey that ICC.1 allows: a white point, and a curve that is none."""
    white = b"XYZ \0\0\0\0" + b"".join(int(each * 65536).to_bytes(4) for each in (0.9642, 1.0, 0.8249))
    curve = b"curv\0\0\0\0\0\0\0\0"
    tags = [(b"wtpt", 128 + 4 + 24, len(white)), (b"kTRC", 128 + 4 + 24 + len(white), len(curve))]
    table = len(tags).to_bytes(4) + b"".join(name + at.to_bytes(4) + size.to_bytes(4) for name, at, size in tags)
    body = table + white + curve
    header = bytearray(128)
    header[0:4] = (128 + len(body)).to_bytes(4)
    header[8:12] = b"\x02\x10\0\0"
    header[12:24] = b"mntrGRAYXYZ "
    header[36:40] = b"acsp"
    header[68:80] = white[8:]
    return bytes(header) + body


LINEAR_GREY = _linear_grey()


def encoded(format: str, *, mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    content = io.BytesIO()
    Image.effect_noise(size, 60).convert(mode).save(content, format, **options)
    return content.getvalue()


def painted(mode: str, pixels: list[Any], saved_as: str | None = None, **options: Any) -> bytes:
    """A PNG of one row."""
    picture = Image.new(mode, (len(pixels), 1))
    picture.putdata(pixels)
    content = io.BytesIO()
    picture.convert(saved_as or mode).save(content, "PNG", **options)
    return content.getvalue()


def kept(picture: UploadedPicture) -> Image.Image:
    return Image.open(io.BytesIO(picture.png))


def read(content: bytes) -> UploadedPicture:
    return read_picture(content, max_pixels=MAX_PIXELS)


@pytest.mark.parametrize(
    ("format", "mode"),
    [
        ("PNG", "1"), ("PNG", "L"), ("PNG", "LA"), ("PNG", "P"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "I;16"),
        ("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("WEBP", "RGBA"),
    ],
)  # fmt: skip
def test_every_kind_of_opaque_pixel_becomes_rgb(format: str, mode: str) -> None:
    picture = read(encoded(format, mode=mode))

    assert (kept(picture).mode, kept(picture).size) == ("RGB", (40, 30))
    assert (picture.width, picture.height) == (40, 30)


def test_nothing_but_pixels_is_kept() -> None:
    exif = Image.Exif()
    exif[0x010E] = "where I live"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for format in ("PNG", "JPEG", "WEBP"):
        picture = read(encoded(format, exif=exif, icc_profile=profile))

        assert kept(picture).info == {}
        assert b"iCCP" not in picture.png and b"eXIf" not in picture.png


@pytest.mark.parametrize(
    ("mode", "pixels", "seen"),
    [
        ("RGBA", [(255, 0, 0, 255), (0, 255, 0, 64)], [(255, 0, 0, 255), (0, 255, 0, 64)]),
        ("LA", [(200, 255), (9, 0)], [(200, 200, 200, 255), (9, 9, 9, 0)]),
    ],
)
def test_what_is_transparent_stays_so(mode: str, pixels: list[Any], seen: list[Any]) -> None:
    picture = kept(read(painted(mode, pixels)))

    assert [picture.getpixel((x, 0)) for x in range(2)] == seen


def test_a_transparent_colour_of_a_palette_becomes_transparent_pixels() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    content = io.BytesIO()
    palette.save(content, "PNG", transparency=1)

    picture = kept(read(content.getvalue()))

    assert [picture.getpixel((x, 0)) for x in range(2)] == [(10, 20, 30, 255), (40, 50, 60, 0)]
    assert picture.info == {}


@pytest.mark.parametrize(("mode", "colour"), [("RGB", (255, 0, 0)), ("RGBA", (255, 0, 0, 64)), ("P", (255, 0, 0))])
def test_colours_are_converted_to_srgb_and_not_taken_for_it(mode: str, colour: tuple[int, ...]) -> None:
    content = painted("RGBA" if len(colour) == 4 else "RGB", [colour, colour], mode, icc_profile=SWAPPED)

    picture = kept(read(content))

    # In this profile, red is where sRGB has blue.
    seen = picture.getpixel((0, 0))
    assert isinstance(seen, tuple)
    assert seen == pytest.approx((0, 0, 255, *colour[3:]), abs=4)
    assert "icc_profile" not in picture.info


def test_grey_of_another_gamma_is_converted() -> None:
    picture = kept(read(painted("L", [128, 128], icc_profile=LINEAR_GREY)))

    # Half the light is 188 of 255 in sRGB.
    assert picture.getpixel((0, 0)) == pytest.approx((188, 188, 188), abs=2)


@pytest.mark.parametrize("profile", [b"", b"no profile", b"\x00" * 200, "half", "other"])
@pytest.mark.parametrize(("format", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("JPEG", "CMYK")])
def test_a_profile_that_does_not_fit_is_passed_over(format: str, mode: str, profile: bytes | str) -> None:
    other = LINEAR_GREY if mode == "RGB" else SWAPPED[:128] if mode == "L" else SWAPPED
    icc = {"half": SRGB_PROFILE[:200], "other": other}.get(profile, profile)  # type: ignore[call-overload]

    with_it = kept(read(encoded(format, mode=mode, icc_profile=icc)))

    assert with_it.size == (40, 30)
    assert with_it.mode == "RGB"


def test_a_cmyk_picture_has_its_colours() -> None:
    """Adobe writes the inks the other way round; who overlooks that sees a negative."""
    content = io.BytesIO()
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(content, "JPEG", quality=95)  # no cyan: red

    red, green, blue = kept(read(content.getvalue())).getpixel((8, 8))  # type: ignore[misc]

    assert red > 220 and green < 60 and blue < 60


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    grey = Image.new("I;16", (3, 1))
    for x, level in enumerate((0, 0x8000, 0xFFFF)):
        grey.putpixel((x, 0), level)
    content = io.BytesIO()
    grey.save(content, "PNG")

    picture = kept(read(content.getvalue()))

    # 0x8000 / 257 = 127.5
    assert [picture.getpixel((x, 0)) for x in range(3)] == [(0,) * 3, pytest.approx((128,) * 3, abs=1), (255,) * 3]


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 30)), (3, (40, 30)), (6, (30, 40)), (8, (30, 40))])
def test_a_turned_camera_gives_an_upright_picture(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    picture = read(encoded("JPEG", exif=exif))

    assert (picture.width, picture.height) == size


def test_a_phones_picture_with_a_second_one_inside_is_its_first() -> None:
    """Phones add a depth map or a smaller copy to a JPEG: the multi-picture format."""
    content = io.BytesIO()
    first, second = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    first.save(content, "MPO", save_all=True, append_images=[second])

    picture = kept(read(content.getvalue()))

    red = picture.getpixel((20, 15))
    assert isinstance(red, tuple) and red[0] > 200 > 50 > red[2]


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_an_animation_is_refused(format: str) -> None:
    content = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(content, format, save_all=True, append_images=frames[1:])

    with pytest.raises(InvalidSubmission, match="animated"):
        read(content.getvalue())


def test_pixels_are_counted_before_they_are_decoded() -> None:
    with pytest.raises(InvalidSubmission, match="2000 × 501 pixels; at most 1000000"):
        read(encoded("PNG", mode="1", size=(2000, 501)))


@pytest.mark.parametrize("trailer", [b"<script>alert(1)</script>", b"PK\x03\x04 a whole archive", b"\x00" * 9999])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_what_follows_the_picture_is_not_kept(format: str, trailer: bytes) -> None:
    """Files that are a picture to one program and an archive or a page to another."""
    picture = read(encoded(format) + trailer)

    assert trailer not in picture.png
    assert picture.png.endswith(b"IEND\xaeB`\x82")
    assert kept(picture).size == (40, 30)


def test_what_hides_in_a_comment_is_not_kept() -> None:
    content = io.BytesIO()
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Comment", "<script>alert(1)</script>", zip=True)
    Image.new("RGB", (40, 30)).save(content, "PNG", pnginfo=notes)

    assert b"tEXt" not in read(content.getvalue()).png and b"zTXt" not in read(content.getvalue()).png


def test_a_comment_that_unpacks_to_gigabytes_is_refused() -> None:
    packed = zlib.compress(bytes(100 * 2**20))
    chunk = b"zTXt" + b"note\0\0" + packed
    bomb = (len(packed) + 6).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4)
    whole = encoded("PNG")

    with pytest.raises(InvalidSubmission, match="cannot be decoded"):
        read(whole[:33] + bomb + whole[33:])


@pytest.mark.parametrize("content", [
    b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    b"<?xml version='1.0'?><svg/>",
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n",
    b"<html><img src=x onerror=alert(1)></html>",
    b"%PDF-1.7\n",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"RIFF\x00\x00\x00\x00WEBP",
    b"",
])  # fmt: skip
def test_what_is_no_picture_of_pixels_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidSubmission, match=r"PNG, JPEG, WEBP|cannot be decoded"):
        read(content)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_a_picture_that_is_cut_off_is_refused_and_not_half_grey(format: str) -> None:
    whole = encoded(format, size=(200, 200))

    with pytest.raises(InvalidSubmission, match="cannot be decoded"):
        read(whole[: len(whole) // 2])


def test_sixteen_bit_colours_are_read_at_eight() -> None:
    """Pillow cannot write them, so the file is made by hand: one pixel, 0xFFFF 0x8000 0x0000."""
    header = (1).to_bytes(4) * 2 + bytes([16, 2, 0, 0, 0])
    pixels = zlib.compress(b"\0" + b"\xff\xff\x80\x00\x00\x00")
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4) + name + body + zlib.crc32(name + body).to_bytes(4) for name, body in chunks
    )

    assert kept(read(content)).getpixel((0, 0)) == (255, 128, 0)


@pytest.mark.parametrize("format", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused_with_those_that_are_taken(format: str) -> None:
    with pytest.raises(InvalidSubmission, match="PNG, JPEG, WEBP"):
        read(encoded(format))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_damaged_pictures_are_read_or_refused_and_never_crash(format: str) -> None:
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
            picture = read(bytes(damaged))
        except InvalidSubmission as refused:
            assert refused.message
        else:
            assert picture.width * picture.height <= MAX_PIXELS
