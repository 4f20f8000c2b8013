import io
from typing import cast

import pytest
from PIL import Image

from gpu_worker.pictures import open_picture
from jobs.errors import FatalFailure


def encoded(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize(
    ("pixel", "seen"),
    [
        ((255, 0, 0, 255), (255, 0, 0)),
        ((255, 0, 0, 0), (255, 255, 255)),
        ((0, 0, 0, 51), (204, 204, 204)),  # 255 × (1 - 51/255)
    ],
)
def test_what_is_transparent_is_seen_over_white(pixel: tuple[int, ...], seen: tuple[int, ...]) -> None:
    picture = cast(Image.Image, open_picture(encoded(Image.new("RGBA", (2, 2), pixel))))

    assert (picture.mode, picture.getpixel((0, 0))) == ("RGB", seen)


@pytest.mark.parametrize("content", [b"", b"no picture", encoded(Image.new("RGB", (64, 64)))[:60]])
def test_a_damaged_file_is_a_fatal_failure(content: bytes) -> None:
    with pytest.raises(FatalFailure, match="cannot be decoded"):
        open_picture(content)
