"""Published networks with made-up weights, each tensor's by its own name: whoever calls it otherwise says otherwise."""

import zlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gpu_worker.engine.looking.pose import LIMBS

Shapes = Mapping[str, Iterable[int]]


def seeded(shapes: Shapes) -> dict[str, Tensor]:
    """In half precision, of which files are half as long."""
    return {name: _values(name, tuple(shape)) for name, shape in shapes.items() if not name.endswith("_tracked")}


def shapes_of(network: type[nn.Module]) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in network().state_dict().items()}


def _values(name: str, shape: tuple[int, ...]) -> Tensor:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    even = 2 * random.random(shape, np.float32) - 1
    if name.endswith("running_var"):
        return torch.from_numpy(1 + 0.5 * even).half()
    if name == "norm":  # HED's gray
        return torch.from_numpy(110 + 20 * even).half()
    if len(shape) <= 1:
        # What 39 blocks add in EfficientNet grows without bound otherwise, and the last bit of a sum decides all.
        middle = (0.5 if "bn3" in name else 1) if name.endswith("weight") else 0
        return torch.from_numpy(0.1 * even + middle).half()
    # As loud behind each layer as before it; a uniform number's deviation is 1 / √3.
    deviation = (2 / np.prod(shape[1:])) ** 0.5 * (2 if "projection" in name else 1)
    return torch.from_numpy(even * np.float32(3**0.5 * deviation)).half()


def picture() -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(64, 128, 3): a disc on slopes."""
    rows, columns = np.mgrid[0:64, 0:128]
    disc = 255 * ((columns - 64) ** 2 + (rows - 32) ** 2 < 20**2)
    return np.stack([rows * 3, columns * 2, disc], axis=2).astype(np.uint8)


PERSON = {
    0: (60, 20), 1: (60, 40), 2: (45, 42), 3: (35, 60), 4: (30, 80), 5: (75, 42), 6: (85, 60), 7: (92, 78),
    8: (50, 80), 9: (48, 105), 10: (47, 125), 11: (70, 80), 12: (72, 105), 13: (74, 125), 14: (56, 16), 15: (64, 16),
    16: (51, 18), 17: (69, 18),
}  # fmt: skip
# Beside the first, without a right wrist and a left ear.
OTHER = {joint: (x + 80, y + 6) for joint, (x, y) in PERSON.items() if joint not in (4, 17)}


def maps_of(people: Iterable[Mapping[int, tuple[int, int]]], size: tuple[int, int] = (200, 140)) -> list[Any]:
    """What a body's network would say of these people: (38, h, w) of limbs' ways and (19, h, w) of joints."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    ways, joints = (np.zeros((maps, size[1], size[0]), np.float32) for maps in (38, 19))
    for person in people:
        for joint, (x, y) in person.items():
            joints[joint] = np.maximum(joints[joint], np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 32))
        for first, second, way in LIMBS:
            if first not in person or second not in person:
                continue
            begin, line = np.array(person[first]), np.subtract(person[second], person[first])
            length = np.hypot(*line)
            along, across = line / length, np.array([-line[1], line[0]]) / length
            x, y = columns - begin[0], rows - begin[1]
            is_on = (x * along[0] + y * along[1] > -3) & (x * along[0] + y * along[1] < length + 3)
            ways[way : way + 2, is_on & (np.abs(x * across[0] + y * across[1]) < 4)] = along[:, None]
    return [ways, joints]
