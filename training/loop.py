"""What every training loop needs: a learning rate over time, and a checkpoint to go on from."""

import math
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

SAVE_EVERY_S = 120


class Stateful(Protocol):
    def state_dict(self) -> Mapping[str, Any]: ...
    def load_state_dict(self, state: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Schedule:
    """Linear warm-up, high until `hold` of the steps, then a cosine to a fiftieth."""

    rate: float
    steps: int
    warm_up: int = 100
    hold: float = 0.0

    def at(self, step: int) -> float:
        done = max(0.0, (step / self.steps - self.hold) / (1 - self.hold))
        return self.rate * min(1.0, (step + 1) / self.warm_up) * (0.02 + 0.49 * (1 + math.cos(math.pi * done)))

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        for group in optimizer.param_groups:
            group["lr"] = self.at(step)


def checkpointed(file: Path, state: Mapping[str, Stateful], steps: int) -> Iterator[int]:
    """The steps that are left; saves every two minutes and at the end, so that a run that is cut goes on."""
    first, saved_at = _load(file, state), time.monotonic()
    torch.manual_seed(first)
    for step in range(first, steps):
        yield step
        if time.monotonic() - saved_at > SAVE_EVERY_S:
            _save(file, state, step + 1)
            saved_at = time.monotonic()
    if first < steps:
        _save(file, state, steps)


def _load(file: Path, state: Mapping[str, Stateful]) -> int:
    if not file.exists():
        return 0
    saved = torch.load(file, weights_only=True)
    for name, each in state.items():
        each.load_state_dict(saved[name])
    return int(saved["step"])


def _save(file: Path, state: Mapping[str, Stateful], step: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    half = file.with_suffix(".half")
    torch.save({"step": step} | {name: each.state_dict() for name, each in state.items()}, half)
    os.replace(half, file)
