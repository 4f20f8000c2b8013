"""What it means to run out of memory. It decides nothing about another attempt: the runner does."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gpu_worker.engine.device import Device
from jobs.errors import TransitoryFailure

_MIB = 2**20


@contextmanager
def out_of_memory_is_transitory(device: Device, doing: str, make_room: Callable[[], None]) -> Iterator[None]:
    """Turns a lack of memory into TransitoryFailure, after `make_room`; all other errors pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        state = _state(device)
        make_room()
        _release(device)
        raise TransitoryFailure(f"out of memory while {doing}{state}: {error}") from error


def _is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a bare RuntimeError.
    is_on_cpu = "DefaultCPUAllocator: can't allocate memory" in str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or is_on_cpu


def _state(device: Device) -> str:
    if device.torch_device.type != "cuda":
        return ""
    free, total = torch.cuda.mem_get_info(device.torch_device)
    return f" ({free // _MIB} of {total // _MIB} MiB free on {device})"


def _release(device: Device) -> None:
    gc.collect()
    if device.torch_device.type == "cuda":
        torch.cuda.empty_cache()
