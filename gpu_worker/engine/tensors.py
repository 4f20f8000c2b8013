"""The tensors of a model that is one file, and a network that is filled with them. It knows no architecture."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from gpu_worker.engine.memory import is_out_of_memory
from jobs.catalog import Model
from jobs.errors import FatalFailure

T = TypeVar("T")
N = TypeVar("N", bound=nn.Module)


def read_tensors(model: Model) -> dict[str, Tensor]:
    """By name, on the CPU. Raises FatalFailure, naming model and file, if that is missing or damaged."""
    return _read(model, lambda: load_file(model.path))


def read_notes(model: Model) -> dict[str, str]:
    """What the file says beside its tensors. Raises FatalFailure as `read_tensors`."""

    def notes() -> dict[str, str]:
        with safe_open(model.path, framework="pt") as file:
            return file.metadata() or {}

    return _read(model, notes)


def _read(model: Model, reading: Callable[[], T]) -> T:
    check_is_safetensors(model)
    try:
        return reading()
    except Exception as error:
        if is_out_of_memory(error):
            raise
        # Of a damaged file nearly any class is raised.
        raise FatalFailure(f"{model.kind} {model.id}: cannot load {model.path}: {error}") from error


def check_is_safetensors(model: Model) -> None:
    """By its name: of other forms, reading runs what is in them. Raises FatalFailure."""
    if model.path.suffix != ".safetensors":
        raise FatalFailure(f"{model.kind} {model.id}: {model.path} is not a .safetensors file")


def filled(build: Callable[[], N], tensors: Mapping[str, Tensor]) -> N:
    """The network with these tensors. Raises ValueError, with the first difference, if they are not all that it has."""
    with torch.device("meta"):
        network = build()
    expected = network.state_dict()
    for name in [*expected, *tensors]:
        if name not in tensors or name not in expected:
            raise ValueError(f"{name} is {'missing' if name in expected else 'unknown'}")
        if tensors[name].shape != expected[name].shape:
            shape, wanted = tuple(tensors[name].shape), tuple(expected[name].shape)
            raise ValueError(f"{name} has the shape {shape}, not {wanted}")
    network.load_state_dict(tensors, assign=True)
    return network
