"""Parts of pictures: cut out along a mask, and put back. It works on pixels, and knows neither latents nor networks.

Source of all of it, down to the constants: AUTOMATIC1111's stable-diffusion-webui, modules/processing.py
(StableDiffusionProcessingImg2Img.init and apply_overlay), modules/masking.py, modules/images.py (resize_image).
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image, ImageChops, ImageFilter, ImageOps
from scipy import ndimage

from jobs.errors import FatalFailure
from jobs.inpainting import Cut, ResizeMode

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom."""

# Radius of a blur, and how often its result is laid over that of the one before.
FILLING = ((256, 1), (64, 1), (16, 2), (4, 4), (2, 2), (0, 1))
# A gaussian reaches so many deviations.
REACH = 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCutout:
    """`picture` and `mask` are what is drawn again, at that size (but a picture that is to be resized as latents, at
    its own). `around` is the whole; `blend` says per pixel of it how much is taken from what was drawn into `box`."""

    picture: Image.Image
    mask: Image.Image
    around: Image.Image
    blend: Image.Image
    box: Box

    def put_back(self, drawn: Image.Image) -> Image.Image:
        left, top, right, bottom = self.box
        whole = self.around.copy()
        whole.paste(resized(drawn, right - left, bottom - top, "CROP_AND_RESIZE"), (left, top))
        return Image.composite(whole, self.around, self.blend)


def cut_out(picture: Image.Image, mask: Image.Image, cut: Cut) -> PictureCutout:
    """Raises FatalFailure if the mask is of another size than the picture, or covers nothing of it."""
    if mask.size != picture.size:
        sizes = f"{mask.width} × {mask.height}, the picture {picture.width} × {picture.height}"
        raise FatalFailure(f"the mask must be as large as the picture: the mask is {sizes}")
    soft = softened(mask, cut.blur_px, invert=cut.invert_mask)
    covered = soft.getbbox()
    if covered is None:
        raise FatalFailure(f"the mask covers nothing: it has no {'black' if cut.invert_mask else 'white'}")
    if cut.padding_px is None:
        return _whole(picture, soft, cut)
    return _part(picture, soft, cut, region(covered, cut, picture.size))


def _whole(picture: Image.Image, mask: Image.Image, cut: Cut) -> PictureCutout:
    around = resized(picture, cut.width, cut.height, cut.resize_mode)
    sized = resized(mask, cut.width, cut.height, cut.resize_mode)
    return PictureCutout(
        picture=_filled(picture, mask, cut) if cut.grows_as_latents else _filled(around, sized, cut),
        mask=sized,
        around=around,
        # What has changed at all in the latents shows at full strength.
        blend=sized.point(lambda each: min(2 * each, 255)),
        box=(0, 0, cut.width, cut.height),
    )


def _part(picture: Image.Image, mask: Image.Image, cut: Cut, box: Box) -> PictureCutout:
    sized = resized(mask.crop(box), cut.width, cut.height, "RESIZE_AND_FILL")
    part = resized(picture.crop(box), cut.width, cut.height, "RESIZE_AND_FILL")
    return PictureCutout(picture=_filled(part, sized, cut), mask=sized, around=picture, blend=mask, box=box)


def _filled(picture: Image.Image, mask: Image.Image, cut: Cut) -> Image.Image:
    # What becomes noise or nothing is filled before as well: the VAE looks over the mask's edge.
    return picture if cut.fill == "ORIGINAL" else filled(picture, mask)


def softened(mask: Image.Image, blur_px: float, *, invert: bool = False) -> Image.Image:
    """The mask in gray, blurred; `blur_px` is the gaussian's deviation."""
    gray = mask.convert("L")
    if invert:
        gray = ImageOps.invert(gray)
    if not blur_px:
        return gray
    radius = int(REACH * blur_px + 0.5)
    blurred = ndimage.gaussian_filter(np.asarray(gray, np.float32), blur_px, radius=radius, mode="mirror")
    return Image.fromarray(np.rint(blurred).astype(np.uint8))


def region(covered: Box, cut: Cut, size: tuple[int, int]) -> Box:
    """`covered` with its padding, as wide or high as the ratio of the cut wants it and the picture allows."""
    padding = cut.padding_px or 0
    left, top, right, bottom = covered
    left, right = max(left - padding, 0), min(right + padding, size[0])
    top, bottom = max(top - padding, 0), min(bottom + padding, size[1])
    ratio = cut.width / cut.height
    if (right - left) / (bottom - top) > ratio:
        top, bottom = _grown(top, bottom, int((right - left) / ratio), size[1])
    else:
        left, right = _grown(left, right, int((bottom - top) * ratio), size[0])
    return left, top, right, bottom


def _grown(first: int, last: int, length: int, limit: int) -> tuple[int, int]:
    """`first` to `last`, grown to `length` on both sides, within 0 and `limit`."""
    more = length - (last - first)
    first -= more // 2
    first = max(min(first, limit - length), 0)
    return first, min(first + length, limit)


def resized(picture: Image.Image, width: int, height: int, mode: ResizeMode) -> Image.Image:
    """At this size: stretched, or in its own ratio, with what is too much cut off or what is missing filled."""
    if picture.size == (width, height):
        return picture
    if mode in ("JUST_RESIZE", "JUST_RESIZE_LATENT_UPSCALE"):
        return picture.resize((width, height), Image.Resampling.LANCZOS)
    is_wider = picture.width * height > width * picture.height
    if is_wider == (mode == "CROP_AND_RESIZE"):
        size = (max(picture.width * height // picture.height, 1), height)
    else:
        size = (width, max(picture.height * width // picture.width, 1))
    scaled = picture.resize(size, Image.Resampling.LANCZOS)
    return _centred(scaled, width, height)


def in_ratio(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The largest middle part of it in the ratio of this size."""
    across = min(max(round(picture.height * width / height), 1), picture.width)
    down = min(max(round(picture.width * height / width), 1), picture.height)
    left, top = (picture.width - across) // 2, (picture.height - down) // 2
    return picture.crop((left, top, left + across, top + down))


def _centred(picture: Image.Image, width: int, height: int) -> Image.Image:
    """The middle of it; where it does not reach, its edge goes on."""
    pixels = np.asarray(picture)
    left, top = width // 2 - picture.width // 2, height // 2 - picture.height // 2
    rows = np.clip(np.arange(height) - top, 0, picture.height - 1)
    columns = np.clip(np.arange(width) - left, 0, picture.width - 1)
    return Image.fromarray(pixels[rows][:, columns])


def filled(picture: Image.Image, mask: Image.Image) -> Image.Image:
    """The picture with colours from around the masked part in it, the nearer the clearer."""
    kept = Image.new("RGBa", picture.size)
    kept.paste(picture.convert("RGBA").convert("RGBa"), mask=ImageChops.invert(mask))
    result = Image.new("RGBA", picture.size)
    for radius, times in FILLING:
        blurred = kept.filter(ImageFilter.GaussianBlur(radius)).convert("RGBA")
        for _ in range(times):
            result.alpha_composite(blurred)
    return result.convert("RGB")
