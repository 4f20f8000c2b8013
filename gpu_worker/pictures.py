"""Pictures to and from bytes. The engine's pictures are Pillow's; no other module of the worker knows."""

import io
from typing import cast

from PIL import Image

from jobs.engine import Picture
from jobs.errors import FatalFailure

PREVIEW_QUALITY = 80
# Half a second of zlib saves a few kilobytes of noise: the GPU's successor waits for neither.
PNG_COMPRESSION = 1


def png_bytes(picture: Picture) -> bytes:
    """Without metadata, so that equal pixels are equal bytes."""
    encoded = io.BytesIO()
    cast(Image.Image, picture).save(encoded, "PNG", compress_level=PNG_COMPRESSION)
    return encoded.getvalue()


def jpeg_bytes(picture: Picture) -> bytes:
    encoded = io.BytesIO()
    cast(Image.Image, picture).save(encoded, "JPEG", quality=PREVIEW_QUALITY)
    return encoded.getvalue()


def open_picture(content: bytes) -> Picture:
    """RGB, over white where it is transparent. Raises FatalFailure where the stored bytes are damaged."""
    try:
        picture = Image.open(io.BytesIO(content), formats=("PNG",))
        if not picture.has_transparency_data:
            return picture.convert("RGB")
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise FatalFailure(f"the stored input picture cannot be decoded: {error}") from error
