"""Where the numbers are computed, and in which precision. It loads nothing."""

import os
from dataclasses import dataclass

import torch

# Pascal (6.x) and older compute float16 many times slower than float32.
_FIRST_CAPABILITY_WITH_FAST_HALF = (7, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A place for tensors: the weights and latents of every checkpoint there have `dtype`."""

    torch_device: torch.device
    dtype: torch.dtype
    memory_format: torch.memory_format = torch.channels_last

    @property
    def memory_bytes(self) -> int:
        """All of it, whoever uses it now."""
        if self.torch_device.type == "cuda":
            return torch.cuda.get_device_properties(self.torch_device).total_memory
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    def __str__(self) -> str:
        return f"{self.torch_device} ({str(self.dtype).removeprefix('torch.')})"


CPU = Device(torch_device=torch.device("cpu"), dtype=torch.float32)


def best_device() -> Device:
    """The first CUDA device if there is one, else the CPU in float32.

    float16 and not bfloat16 on CUDA: Stable Diffusion is published and used in it, and its 10 bits of
    mantissa keep pictures closer to float32.
    """
    if not torch.cuda.is_available():
        return CPU
    is_fast_in_half = torch.cuda.get_device_capability() >= _FIRST_CAPABILITY_WITH_FAST_HALF
    return Device(
        torch_device=torch.device("cuda", torch.cuda.current_device()),
        dtype=torch.float16 if is_fast_in_half else torch.float32,
    )
