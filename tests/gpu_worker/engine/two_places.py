"""A device beside the host, of so many bytes: `cpu:0` plays it, and plain `cpu` is the host."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook

from gpu_worker.engine.device import Device

PLACE = torch.device("cpu", 0)
DEVICE = Device(torch_device=PLACE, dtype=torch.float32)
_HOST = torch.device("cpu")


def bytes_of(network: Any) -> int:
    return sum(each.nbytes for each in (*network.parameters(), *network.buffers()))


@dataclass
class Bounded:
    """Which networks lie on it, and how much they were at most. `work` is what must be free for the denoiser to run."""

    most: float = float("inf")
    work: float = 0.0
    peak: int = 0
    ran: list[str] = field(default_factory=list)
    moves: list[str] = field(default_factory=list)
    lying: WeakSet[Any] = field(default_factory=WeakSet)

    @property
    def used(self) -> int:
        return sum(map(bytes_of, self.lying))

    def moved(self, network: Any, place: torch.device) -> None:
        for layer in network.modules():
            layer.is_away = place == _HOST
        self.moves.append(f"{type(network).__name__} to {place}")
        if place == _HOST:
            self.lying.discard(network)
            return
        if network not in self.lying and self.used + bytes_of(network) > self.most:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {type(network).__name__}")
        self.lying.add(network)
        self.peak = max(self.peak, self.used)

    def runs(self, layer: Any, _given: Any) -> None:
        assert not getattr(layer, "is_away", False), f"{type(layer).__name__} runs away from the device"
        kind = type(layer).__name__
        if kind.startswith(("UNet2D", "SD3Transformer", "FluxTransformer2D")):
            self.ran.append(kind)
            if self.used + self.work > self.most:
                raise torch.OutOfMemoryError(f"CUDA out of memory: {kind} computes")


@contextmanager
def bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bounded]:
    device, to = Bounded(), nn.Module.to

    def move(module: Any, *arguments: Any, **options: Any) -> Any:
        for place in [each for each in arguments if isinstance(each, torch.device)]:
            device.moved(module, place)
        return to(module, *arguments, **options)

    monkeypatch.setattr(nn.Module, "to", move)
    hook = register_module_forward_pre_hook(device.runs)
    try:
        yield device
    finally:
        hook.remove()
