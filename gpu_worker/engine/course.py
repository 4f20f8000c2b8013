"""The way from noise to picture that one request takes. It knows no scheduler."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """`seeds` are those of the noise that comes later, `size` is height and width of the latents. Without a `schedule`
    it is the sampler's own."""

    sampler: str
    schedule: str | None
    steps: int
    seeds: Sequence[int]
    size: tuple[int, int]
    device: Any

    def tokens(self, patch: int) -> int:
        """As many as the picture is to a denoiser that takes `patch` latents of width or height for one."""
        height, width = self.size
        return (height // patch) * (width // patch)
