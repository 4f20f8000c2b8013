"""What is done where memory does not suffice: a ladder of ways to need less, each slower than the one before.

What a rung saves, the modules do that compute. Written for CUDA, which has not run in its tests: there networks
raise its error.
"""

import gc
import os
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import TypeVar

import structlog
import torch

from gpu_worker.engine.device import Device
from jobs.errors import FatalFailure

_MIB = 2**20

T = TypeVar("T")

log = structlog.get_logger()


class Thrift(IntEnum):
    """How much is done to need little memory. Each does what those before it do."""

    NONE = 0
    ALONE = 1
    """Models that are not needed have left the device."""
    TILES = 2
    """Pictures become latents, latents pictures, and small pictures large ones, in small tiles."""
    SLICES = 3
    """The denoiser's attention looks from a part of a picture at a time."""
    ONE_BY_ONE = 4
    """The denoiser sees one picture at a time."""
    APART = 5
    """Text encoders, denoiser and VAE are on the device only while they run, and else in the host's memory. The model
    stays so until it is loaded again: every job with it pays for the way."""


# The rungs that help each kind of work.
_ALL = (Thrift.NONE, Thrift.ALONE)
LOADING = (*_ALL, Thrift.APART)
LOOKING = _ALL
ENLARGING = (*_ALL, Thrift.TILES)
CODING = (*ENLARGING, Thrift.APART)
DENOISING = (*_ALL, Thrift.SLICES, Thrift.ONE_BY_ONE, Thrift.APART)
# Of denoisers whose attention is not computed in slices.
DENOISING_WHOLE = (*_ALL, Thrift.ONE_BY_ONE, Thrift.APART)

_WAYS = {
    Thrift.ALONE: "no other model loaded",
    Thrift.TILES: "in small tiles",
    Thrift.SLICES: "attention in slices",
    Thrift.ONE_BY_ONE: "one picture at a time",
    Thrift.APART: "each part of the model on the device only while it runs",
}


class Ladder:
    """One piece of work, `doing`, on its way down `rungs`. It does not climb up again: the next call begins there."""

    def __init__(self, device: Device, doing: str, rungs: Sequence[Thrift], make_room: Callable[[], None]) -> None:
        self._device = device
        self._doing = doing
        self._rungs = list(rungs)
        self._ways: list[str] = []
        self._make_room = make_room

    def run(self, work: Callable[[Thrift], T]) -> T:
        """What `work` gives on the first rung where memory suffices; it is begun anew on each, so it must change
        nothing before it ends. Raises FatalFailure below the last rung; all other errors pass."""
        while True:
            try:
                with torch.inference_mode():
                    return work(self._rungs[0])
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # The frames of the traceback hold the very tensors that are in the way.
                lack = error.with_traceback(None)
            self._descend(lack)

    def _descend(self, lack: Exception) -> None:
        self._make_room()
        _release(self._device)
        tried = self._rungs[0]
        if len(self._rungs) == 1:
            raise FatalFailure(
                f"out of memory while {self._doing}{_with(self._ways)}{_state(self._device)}: {lack}"
            ) from lack
        self._rungs.pop(0)
        self._ways.append(_WAYS[self._rungs[0]])
        log.warning("memory_short", doing=self._doing, tried=tried.name, next=self._rungs[0].name)


def _with(ways: Sequence[str]) -> str:
    if not ways:
        return ""
    *others, last = ways
    return f", with {', '.join(others)} and {last}" if others else f", with {last}"


def is_out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a bare RuntimeError.
    is_on_cpu = "DefaultCPUAllocator: can't allocate memory" in str(error)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or is_on_cpu


def _state(device: Device) -> str:
    if device.torch_device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device.torch_device)
    else:
        page = os.sysconf("SC_PAGE_SIZE")
        free, total = page * os.sysconf("SC_AVPHYS_PAGES"), page * os.sysconf("SC_PHYS_PAGES")
    return f" ({free // _MIB} of {total // _MIB} MiB are free on {device})"


def _release(device: Device) -> None:
    gc.collect()
    if device.torch_device.type == "cuda":
        torch.cuda.empty_cache()
