"""Bytes from a stranger to a plain PNG: decoded within bounds and written anew, so that nothing else survives.

It bounds pixels. Time and memory are bounded by the process that it runs in: see `picture_process`.
"""

import hashlib
import io
from dataclasses import dataclass

from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from jobs.errors import Fault, InvalidSubmission

FORMATS = ("PNG", "JPEG", "WEBP")
SRGB = ImageCms.createProfile("sRGB")
# The kinds of pixels that a colour profile may speak of, by the name that ICC has for them.
PROFILED_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadedPicture:
    """`digest` tells pictures apart: SHA-256 of the PNG, in hexadecimal."""

    png: bytes
    width: int
    height: int
    digest: str


def read_picture(content: bytes, *, max_pixels: int) -> UploadedPicture:
    """Upright, in sRGB, 8 bits, without metadata; RGBA where something is transparent, else RGB.

    Raises InvalidSubmission for what is no single picture within the bounds.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            _check_header(picture, max_pixels)
            plain = _plain(ImageOps.exif_transpose(picture))
    except UnidentifiedImageError as error:
        raise refusal(f"is of no kind that is taken ({', '.join(FORMATS)}), or is damaged") from error
    except InvalidSubmission:
        raise
    except MemoryError as error:
        raise refusal("needs too much memory to decode") from error
    except Exception as error:  # damaged files bring decoders to raise anything, struct.error and TypeError too
        raise refusal(f"cannot be decoded: {error}") from error
    return written_picture(plain)


def written_picture(picture: Image.Image) -> UploadedPicture:
    encoded = io.BytesIO()
    picture.save(encoded, "PNG", compress_level=1)
    png = encoded.getvalue()
    return UploadedPicture(png=png, width=picture.width, height=picture.height, digest=hashlib.sha256(png).hexdigest())


def refusal(reason: str) -> InvalidSubmission:
    return InvalidSubmission([Fault("", f"the picture {reason}")])


def _check_header(picture: Image.Image, max_pixels: int) -> None:
    # Before any pixel is decoded: a small file can claim to be huge.
    if picture.width * picture.height > max_pixels:
        raise refusal(f"has {picture.width} × {picture.height} pixels; at most {max_pixels} are taken")
    # MPO is how phones put a depth map or a smaller copy into a JPEG: its first picture is the one that was meant.
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        raise refusal("is animated; send a single frame")


def _plain(picture: Image.Image) -> Image.Image:
    picture = _eight_bits(picture)
    # Transparency is kept and not painted over: what a transparent place means, the reader of a mask knows.
    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    colours = _in_srgb(picture)
    colours.info.clear()  # or what is in it would be written too
    if alpha is not None and alpha.getextrema() != (255, 255):
        colours.putalpha(alpha)
    return colours


def _eight_bits(picture: Image.Image) -> Image.Image:
    if not picture.mode.startswith("I"):
        return picture
    # 16 bits of grey: `convert` alone would cut them off at 255 and not scale them.
    grey = picture.convert("I").point(lambda level: level / 257).convert("L")
    grey.info = {"icc_profile": picture.info.get("icc_profile")}
    return grey


def _in_srgb(picture: Image.Image) -> Image.Image:
    """The colours as they were meant: the engine's models have seen sRGB only."""
    profile = _profile_of(picture)
    if profile is None:
        return picture.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(
            picture.convert(PROFILED_MODES[profile.profile.xcolor_space]),
            profile,
            SRGB,
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except ImageCms.PyCMSError:
        return picture.convert("RGB")  # a profile that says nothing useful, as most viewers take it
    assert converted is not None  # it is None only where the picture is changed in place
    return converted


def _profile_of(picture: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """Its colour profile, unless that is damaged or speaks of other pixels."""
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    except (KeyError, TypeError, OSError):
        return None
    space, mode = profile.profile.xcolor_space, picture.mode
    is_grey = mode in ("1", "L", "LA", "La")
    fits = {"RGB ": mode != "CMYK", "GRAY": is_grey, "CMYK": mode == "CMYK"}
    return profile if fits.get(space, False) else None
