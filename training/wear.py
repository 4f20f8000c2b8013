"""What happens to pictures on their way: other sizes and back, blur, noise, JPEG. It moves nothing in them."""

import io
import random

import numpy as np
from PIL import Image, ImageFilter

FILTERS = (
    Image.Resampling.BOX,
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
)


def worn(picture: Image.Image, rng: random.Random, *, blur: float, noise: float, quality: int) -> Image.Image:
    """Each kind on some pictures only: blur up to `blur` pixels, noise up to `noise` of 255, JPEG down to `quality`."""
    if rng.random() < 0.35:
        picture = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0.2, blur)))
    if rng.random() < 0.3:
        picture = _noisy(picture, rng.uniform(1, noise), rng)
    if rng.random() < 0.35:
        picture = _as_jpeg(picture, rng.randint(quality, 95))
    return picture


def resized_and_back(picture: Image.Image, rng: random.Random) -> Image.Image:
    share = rng.uniform(0.3, 1.5)
    size = (round(picture.width * share), round(picture.height * share))
    return picture.resize(size, rng.choice(FILTERS)).resize(picture.size, rng.choice(FILTERS))


def _noisy(picture: Image.Image, deviation: float, rng: random.Random) -> Image.Image:
    noise = np.random.default_rng(rng.randrange(2**31)).normal(0, deviation, (picture.height, picture.width, 3))
    return Image.fromarray((np.asarray(picture) + noise).round().clip(0, 255).astype(np.uint8))


def _as_jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")
