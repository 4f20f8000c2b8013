"""From a picture to masks of what a detector finds in it. Faces are `faces`' own; a file is run by its package."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

from gpu_worker.engine.faces import find_faces
from jobs.catalog import Model
from jobs.detectors import Look
from jobs.errors import FatalFailure


def bundled_masks(picture: Image.Image, confidence: float) -> list[Image.Image]:
    """A white rectangle per face, the likeliest first."""
    return [_rectangle(box, picture.size) for box, sure in find_faces(picture) if sure >= confidence]


def yolo_masks(model: Model, picture: Image.Image, confidence: float) -> list[Image.Image]:
    """What the YOLO file finds: shapes where it segments, else rectangles.

    Raises FatalFailure if its package, which its licence keeps from being required, is not installed.
    """
    (result,) = _yolo(model)(picture, conf=confidence, verbose=False)
    if result.masks is None:
        return [_rectangle(box, picture.size) for box in result.boxes.xyxy.cpu().numpy().tolist()]
    shapes = result.masks.data.cpu().numpy()
    return [Image.fromarray((255 * shape).astype(np.uint8)).resize(picture.size) for shape in shapes]


@cache
def _yolo(model: Model) -> Any:
    if not model.sha256:
        reason = "such a file runs code when it is opened, so the catalogue must state its sha256"
        raise FatalFailure(f"model {model.id}: {reason}")
    try:
        from ultralytics import YOLO
    except ImportError as error:
        raise FatalFailure(f"model {model.id}: the package ultralytics is not installed on this worker") from error
    try:
        return YOLO(model.path)
    except Exception as error:
        # Of a damaged file nearly any class is raised.
        raise FatalFailure(f"model {model.id}: cannot load {model.path}: {error}") from error


def _rectangle(box: Sequence[float], size: tuple[int, int]) -> Image.Image:
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).rectangle([round(each) for each in box], fill=255)
    return mask


def shaped(masks: Sequence[Image.Image], look: Look) -> list[Image.Image]:
    """The masks as the look wants them; none that is black.

    Source: ADetailer, adetailer/mask.py, mask_preprocess.
    """
    grown = [mask for mask in (_grown(mask, look.dilate_erode_px) for mask in masks) if mask.getbbox()]
    if look.mask_merge == "None" or not grown:
        return grown
    merged = np.maximum.reduce([np.asarray(mask) for mask in grown])
    result = Image.fromarray(255 - merged if look.mask_merge == "Merge and Invert" else merged)
    return [result] if result.getbbox() else []


def _grown(mask: Image.Image, px: int) -> Image.Image:
    if not px:
        return mask
    change = ndimage.maximum_filter if px > 0 else ndimage.minimum_filter
    # Beyond the picture nothing grows in, and nothing shrinks away.
    return Image.fromarray(change(np.asarray(mask), abs(px), mode="constant", cval=0 if px > 0 else 255))
