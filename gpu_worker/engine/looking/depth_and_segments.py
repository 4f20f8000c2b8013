"""Depth, normals made of depth, and segments, by transformers' own networks.

They come from a folder as its library writes them. Only safetensors are read.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForDepthEstimation, AutoModelForSemanticSegmentation

from gpu_worker.engine.device import Device
from gpu_worker.engine.memory import is_out_of_memory
from jobs.catalog import Model
from jobs.errors import FatalFailure
from jobs.preprocessors import Preprocessor
from jobs.segments import PALETTE

# Of what is near these networks say little, of what is far much.
_METRIC = ("zoedepth", "glpn")
# Sides that every network of these kinds takes, where its folder names no other.
_GRAIN_PX = 32
_IMAGENET = {"image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225)}
# How steep a surface must be to be seen. Source: the ControlNet extension of the web UI, annotator/midas, apply_midas.
_STEEPNESS = 2 * math.pi


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformersLooker:
    """`reading` is what the folder says of the pictures it was trained with."""

    model: Model
    device: Device
    network: Any
    reading: Mapping[str, Any]

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.network.parameters())

    def look(
        self, seen: Image.Image, preprocessor: Preprocessor, parameters: Mapping[str, float], size: tuple[int, int]
    ) -> Image.Image:
        pixels = _pixels(self, seen)
        if preprocessor is Preprocessor.SEGMENTATION:
            return Image.fromarray(_segments(self, pixels, size))
        depth = _depth(self, pixels)
        is_flat = preprocessor is Preprocessor.DEPTH
        made = _gray(depth) if is_flat else _normals(depth, parameters["background_threshold"])
        return Image.fromarray(made).resize(size, Image.Resampling.LANCZOS)


TRANSFORMERS = frozenset({Preprocessor.DEPTH, Preprocessor.NORMAL, Preprocessor.SEGMENTATION})


def load_of_transformers(model: Model, preprocessor: Preprocessor, device: Device) -> TransformersLooker:
    """Raises FatalFailure, naming the model and the folder, if it is missing, damaged or of another kind."""
    is_segmenting = preprocessor is Preprocessor.SEGMENTATION
    kind = AutoModelForSemanticSegmentation if is_segmenting else AutoModelForDepthEstimation
    if not (model.path / "config.json").is_file():
        raise FatalFailure(f"{model.kind} {model.id}: {model.path} is no folder of transformers: it has no config.json")
    try:
        # Small networks, and one look a job: float32.
        network: Any = kind.from_pretrained(model.path, local_files_only=True, use_safetensors=True)
        told = model.path / "preprocessor_config.json"
        reading = json.loads(told.read_text()) if told.is_file() else {}
        placed = network.to(device.torch_device, torch.float32).requires_grad_(False).eval()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Of a damaged file nearly any class is raised.
        raise FatalFailure(f"{model.kind} {model.id}: cannot load {model.path} for {preprocessor}: {error}") from error
    return TransformersLooker(model=model, device=device, network=placed, reading=_IMAGENET | reading)


def _pixels(looker: TransformersLooker, picture: Image.Image) -> Tensor:
    """(1, 3, height, width) as it was trained with, of sides that it takes."""
    grain = looker.reading.get("ensure_multiple_of") or _GRAIN_PX
    grain = grain if grain > 1 else _GRAIN_PX
    # Some know nothing but squares.
    sides = picture.size if looker.reading.get("keep_aspect_ratio", True) else [min(picture.size)] * 2
    width, height = (max(round(side / grain), 1) * grain for side in sides)
    unit = np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
    mean, deviation = (np.asarray(looker.reading[name], np.float32) for name in ("image_mean", "image_std"))
    values = torch.from_numpy(((unit - mean) / deviation).transpose(2, 0, 1))[None]
    return values.to(looker.device.torch_device, torch.float32)


def _depth(looker: TransformersLooker, pixels: Tensor) -> NDArray[np.float64]:
    """(height, width), the more the nearer."""
    said = looker.network(pixel_values=pixels).predicted_depth[0].float().cpu().numpy().astype(float)
    config = looker.network.config
    is_metric = config.model_type in _METRIC or getattr(config, "depth_estimation_type", "") == "metric"
    return np.asarray(-said if is_metric else said)


def _unit(depth: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray((depth - depth.min()) / max(np.ptp(depth), 1e-9))


def _gray(depth: NDArray[np.float64]) -> NDArray[np.uint8]:
    return (255 * _unit(depth)).round().astype(np.uint8)[..., None].repeat(3, 2)


def _normals(depth: NDArray[np.float64], background: float) -> NDArray[np.uint8]:
    """Where a surface looks: blue and green are its slopes across and down, and flat behind `background`.

    Source: the ControlNet extension of the web UI, annotator/midas, apply_midas.
    """
    slopes = [np.where(_unit(depth) < background, 0, ndimage.sobel(depth, axis, mode="mirror")) for axis in (1, 0)]
    normals = np.stack([*slopes, np.full_like(depth, _STEEPNESS)], axis=2)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return (normals * 127.5 + 127.5).clip(0, 255).astype(np.uint8)[..., ::-1].copy()


def _segments(looker: TransformersLooker, pixels: Tensor, size: tuple[int, int]) -> NDArray[np.uint8]:
    """(height, width, 3): each class in its colour."""
    logits = looker.network(pixel_values=pixels).logits
    if logits.shape[1] > len(PALETTE):
        known = f"ControlNets know the {len(PALETTE)} of ADE20K"
        raise FatalFailure(f"{looker.model.kind} {looker.model.id} tells {logits.shape[1]} classes apart; {known}")
    large = functional.interpolate(logits, (size[1], size[0]), mode="bilinear", align_corners=False)
    classes: NDArray[np.int64] = large[0].argmax(0).cpu().numpy()
    return np.asarray(PALETTE[classes])
