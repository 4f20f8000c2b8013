"""Bytes from a stranger to a plain PNG: decoded within bounds and written anew, so that nothing else survives."""

import asyncio
import io
from dataclasses import dataclass

from PIL import Image, ImageOps, UnidentifiedImageError

from jobs.errors import Fault, InvalidSubmission

FORMATS = ("PNG", "JPEG", "WEBP")


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedPicture:
    png: bytes
    width: int
    height: int


async def read_picture(content: bytes, *, max_pixels: int) -> UploadedPicture:
    """Upright RGB without metadata. Raises InvalidSubmission for what is no single picture within the bounds."""
    return await asyncio.to_thread(_read, content, max_pixels)


def _read(content: bytes, max_pixels: int) -> UploadedPicture:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            _check_header(picture, max_pixels)
            upright = _rgb(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise _refusal(f"is not a picture of a kind that is taken: {', '.join(FORMATS)}") from error
    except InvalidSubmission:
        raise
    except Exception as error:  # damaged files bring decoders to raise anything, struct.error and TypeError too
        raise _refusal(f"cannot be decoded: {error}") from error
    encoded = io.BytesIO()
    upright.save(encoded, "PNG", compress_level=1)
    return UploadedPicture(png=encoded.getvalue(), width=upright.width, height=upright.height)


def _check_header(picture: Image.Image, max_pixels: int) -> None:
    # Before any pixel is decoded: a small file can claim to be huge.
    if picture.width * picture.height > max_pixels:
        raise _refusal(f"has {picture.width} × {picture.height} pixels; at most {max_pixels} are taken")
    # MPO is how phones put a depth map or a smaller copy into a JPEG: its first picture is the one that was meant.
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        raise _refusal("is animated; send a single frame")


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16 bits of grey: `convert` alone would cut them off at 255 and not scale them.
        picture = picture.convert("I").point(lambda level: level / 257)
    plain = picture.convert("RGB")
    plain.info.clear()  # or the colour profile and the transparent colour would be written too
    return plain


def _refusal(reason: str) -> InvalidSubmission:
    return InvalidSubmission([Fault("", f"the picture {reason}")])
