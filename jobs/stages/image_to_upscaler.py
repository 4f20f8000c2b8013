"""IMAGE_TO_UPSCALER: the same picture with more pixels, and details drawn into them. It does not run yet."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jobs.errors import Fault
from jobs.stages.canvas import Size
from jobs.stages.redrawing import Redrawing
from jobs.upscalers import Upscaler

MIN_SIDE_PX = 128
MAX_SIDE_PX = 5120
MIN_PIXELS = 262_144
MAX_PIXELS = 8_294_400
# A picture has at most 8,294,400 pixels in all, and at least 128 a side: no more is ever needed.
MAX_SCALE = 64.0
# What the latents of every family need; a scaled side is rounded to it.
SCALED_GRID_PX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToUpscaler(Redrawing):
    """To `width` × `height`, or by `scale`: one of the two is given."""

    field_name: ClassVar[str] = "imageToUpscaler"
    type: Literal["IMAGE_TO_UPSCALER"] = "IMAGE_TO_UPSCALER"
    upscaler: Upscaler
    scale: float | None = None
    width: int | None = None
    height: int | None = None
    steps: int
    denoising_strength: float

    @property
    def work(self) -> int:
        return self.steps

    def size_after(self, before: Size | None) -> Size:
        width, height = before or self.diffusion.size_after(None)
        if self.scale is not None:
            return _scaled(width, self.scale), _scaled(height, self.scale)
        return self.width or width, self.height or height

    def pixel_faults(self, before: Size | None, path: str) -> list[Fault]:
        """What the published budget forbids; `path` names the stage's fields."""
        width, height = self.size_after(before)
        if MIN_PIXELS <= width * height <= MAX_PIXELS:
            return []
        reason = f"makes {width} × {height} = {width * height} pixels; {MIN_PIXELS} to {MAX_PIXELS} are allowed"
        return [Fault(f"{path}.hrScale" if self.scale is not None else path, reason)]


def _scaled(side: int, scale: float) -> int:
    return max(round(side * scale / SCALED_GRID_PX), 1) * SCALED_GRID_PX
