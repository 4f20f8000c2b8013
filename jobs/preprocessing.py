"""From a picture to what guides a ControlNet: algorithms only. It knows no network.

Source: the ControlNet extension of AUTOMATIC1111's web UI, whose names these are; xDoG: Winnemöller et al. 2012.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from scipy import ndimage

from jobs.canny import edges
from jobs.preprocessors import MAX_RESOLUTION_PX, Preprocessor

Pixels = NDArray[np.uint8]
Parameters = Mapping[str, float]
# A cell of the grid of colours, in pixels.
CELL_PX = 64
# Of the flow that shuffles: a grain of this size, in pixels, moved with this seed.
GRAIN_PX, SHUFFLE_SEED = 256, 12345
# Of what is looked at: a ribbon whose shorter side had the resolution would be longer than memory.
MAX_SIDE_PX = 4 * MAX_RESOLUTION_PX


def preprocessed(
    picture: Image.Image, preprocessor: Preprocessor, parameters: Parameters, *, pixel_perfect: bool
) -> Image.Image:
    """Of the picture's size, RGB. `pixel_perfect` looks at it as it is, and not at the parameters' resolution."""
    picture = picture.convert("RGB")
    seen = picture if pixel_perfect else at_resolution(picture, parameters.get("resolution"))
    made = Image.fromarray(_ALGORITHMS[preprocessor](np.asarray(seen), parameters))
    return made if made.size == picture.size else made.resize(picture.size, Image.Resampling.LANCZOS)


def at_resolution(picture: Image.Image, resolution: float | None) -> Image.Image:
    shorter = min(picture.size)
    if resolution is None or resolution == shorter:
        return picture
    scale = min(resolution / shorter, MAX_SIDE_PX / max(picture.size))
    width, height = (max(round(side * scale), 1) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def _as_it_is(pixels: Pixels, _parameters: Parameters) -> Pixels:
    return pixels


def _canny(pixels: Pixels, parameters: Parameters) -> Pixels:
    return _white(edges(pixels, parameters["low_threshold"], parameters["high_threshold"]))


def _invert(pixels: Pixels, _parameters: Parameters) -> Pixels:
    return 255 - pixels


def _threshold(pixels: Pixels, parameters: Parameters) -> Pixels:
    return _white(pixels.min(2) > parameters["threshold"])


def _tile(pixels: Pixels, parameters: Parameters) -> Pixels:
    picture, rate = Image.fromarray(pixels), parameters["down_sampling_rate"]
    size = (max(round(picture.width / rate), 1), max(round(picture.height / rate), 1))
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))


def _blur(pixels: Pixels, parameters: Parameters) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(parameters["sigma"])))


def _shuffle(pixels: Pixels, _parameters: Parameters) -> Pixels:
    """Each pixel from another place, by a smooth random flow: colours and textures stay, the composition does not."""
    height, width = pixels.shape[:2]
    random = np.random.default_rng(SHUFFLE_SEED)
    rows, columns = (_flow(random, height, width) * (side - 1) for side in (height, width))
    return np.stack([ndimage.map_coordinates(pixels[..., i], (rows, columns), order=1) for i in range(3)], axis=2)


def _flow(random: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    """(height, width) of 0 to 1, all of it reached."""
    coarse = random.uniform(size=(max(height // GRAIN_PX, 1) + 3, max(width // GRAIN_PX, 1) + 3))
    smooth = ndimage.zoom(
        coarse, (height / coarse.shape[0], width / coarse.shape[1]), order=3, grid_mode=True, mode="nearest"
    )
    return np.asarray((smooth - smooth.min()) / max(np.ptp(smooth), 1e-9))


def _colours(pixels: Pixels, _parameters: Parameters) -> Pixels:
    picture = Image.fromarray(pixels)
    cells = (max(picture.width // CELL_PX, 1), max(picture.height // CELL_PX, 1))
    return np.asarray(picture.resize(cells, Image.Resampling.BICUBIC).resize(picture.size, Image.Resampling.NEAREST))


def _scribble(pixels: Pixels, parameters: Parameters) -> Pixels:
    """Where a narrow blur is darker than a wide one, in every colour."""
    narrow, wide = (ndimage.gaussian_filter(pixels.astype(float), (sigma, sigma, 0)) for sigma in (0.5, 5.0))
    return _white(2 * (wide - narrow).min(2) > parameters["threshold"])


def _lines(pixels: Pixels, _parameters: Parameters) -> Pixels:
    """Lines drawn on paper, white on black: how much darker a pixel is than what is around it."""
    around = ndimage.gaussian_filter(pixels.astype(float), (6.0, 6.0, 0))
    darker = np.clip((around - pixels).min(2), 0, 255)
    strong = darker[darker > 8]
    scale = max(16.0, float(np.median(strong)) if strong.size else 16.0)
    return _gray(np.clip(darker / scale * 127, 0, 255))


def _luminance(pixels: Pixels, parameters: Parameters) -> Pixels:
    """CIE 1976 L*, of sRGB."""
    unit = pixels / 255
    linear = np.where(unit <= 0.04045, unit / 12.92, ((unit + 0.055) / 1.055) ** 2.4)
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722])
    lightness = np.where(luminance > 216 / 24389, 1.16 * np.cbrt(luminance) - 0.16, luminance * 24389 / 2700)
    return _gray(255 * lightness.clip(0, 1) ** parameters["gamma"])


def _intensity(pixels: Pixels, parameters: Parameters) -> Pixels:
    """The value of HSV: that of the brightest colour."""
    return _gray(255 * (pixels.max(2) / 255) ** parameters["gamma"])


def _white(marks: NDArray[np.bool_]) -> Pixels:
    return _gray(np.where(marks, 255.0, 0.0))


def _gray(values: NDArray[np.float64]) -> Pixels:
    return values.round().astype(np.uint8)[..., None].repeat(3, 2)


_ALGORITHMS: Mapping[Preprocessor, Callable[[Pixels, Parameters], Pixels]] = {
    Preprocessor.NONE: _as_it_is,
    Preprocessor.CANNY: _canny,
    Preprocessor.INVERT: _invert,
    Preprocessor.THRESHOLD: _threshold,
    Preprocessor.TILE: _tile,
    Preprocessor.BLUR: _blur,
    Preprocessor.SHUFFLE: _shuffle,
    Preprocessor.COLOR: _colours,
    Preprocessor.SCRIBBLE: _scribble,
    Preprocessor.LINEART: _lines,
    Preprocessor.LUMINANCE: _luminance,
    Preprocessor.INTENSITY: _intensity,
}
