"""IMAGE_TO_UPSCALER: the same picture with more pixels, and details drawn into them.

Source: "Hires. fix" of AUTOMATIC1111's web UI.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from jobs.engine import Checkpoint, Engine, Picture
from jobs.errors import Fault
from jobs.samplers import MAX_STEPS, Sampler
from jobs.stages.canvas import Canvas, Size, Tools
from jobs.stages.diffusion import Diffusion
from jobs.stages.redrawing import PassWatch, Redrawing, latents_of
from jobs.upscalers import Upscaler, is_latent

MIN_SIDE_PX = 128
MAX_SIDE_PX = 5120
MIN_PIXELS = 262_144
MAX_PIXELS = 8_294_400
# A picture has at most 8,294,400 pixels in all, and at least 128 a side: no more is ever needed.
MAX_SCALE = 64.0
# What the latents of every family need; a scaled side is rounded to it.
SCALED_GRID_PX = 8
# Beyond it a sampler's steps come so close, of a thousand trained ones, that some are the same.
MAX_SCHEDULE = 500
MAX_STRENGTH = 0.999


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToUpscaler(Redrawing):
    """To `width` × `height`, or by `scale`: one of the two is given. `upscaler` is one of `Upscaler`, or the catalogue
    id of a network. Without `denoising_strength` nothing is drawn into the larger picture."""

    field_name: ClassVar[str] = "imageToUpscaler"
    type: Literal["IMAGE_TO_UPSCALER"] = "IMAGE_TO_UPSCALER"
    upscaler: str
    scale: float | None = None
    width: int | None = None
    height: int | None = None
    steps: int
    denoising_strength: float

    @property
    def models(self) -> tuple[str, ...]:
        return self.diffusion.models if self.upscaler in set(Upscaler) else (*self.diffusion.models, self.upscaler)

    @property
    def work(self) -> int:
        return self.steps

    def size_after(self, before: Size | None, initial: Size | None = None) -> Size:
        width, height = before or self.diffusion.size_after(None)
        if self.scale is not None:
            return _scaled(width, self.scale), _scaled(height, self.scale)
        return self.width or width, self.height or height

    def run(self, canvas: Canvas, tools: Tools) -> Canvas:
        engine = tools.engine
        width, height = self.size_after(canvas.size)
        checkpoint = self.diffusion.checkpoint(engine)
        # No sampler draws sides that are between two latents: the next larger ones are drawn, and brought to size.
        drawn = engine.next_size(checkpoint, width, height)
        enlarge = self._by_latents if is_latent(self.upscaler) else self._by_pixels
        pictures = enlarge(canvas, tools, checkpoint, drawn)
        sized = tuple(_stretched(engine, each, (width, height)) for each in pictures)
        return Canvas(seeds=canvas.seeds, pictures=sized, size=(width, height))

    def _by_latents(self, canvas: Canvas, tools: Tools, checkpoint: Checkpoint, size: Size) -> Sequence[Picture]:
        engine, latents = tools.engine, canvas.latents
        if latents is None:
            latents = latents_of(engine, checkpoint, canvas.pictures)
        start = engine.resize_latents(checkpoint, latents, self.upscaler, width=size[0], height=size[1])
        if not self.denoising_strength:
            return engine.decode(checkpoint, start)
        return self._second_pass(size).draw(self._watched(tools), seeds=canvas.seeds, start=start).pictures

    def _by_pixels(self, canvas: Canvas, tools: Tools, checkpoint: Checkpoint, size: Size) -> Sequence[Picture]:
        width, height = self.size_after(canvas.size)
        enlarge = partial(tools.engine.enlarge, width=width, height=height, check=tools.watch.check)
        larger = [enlarge(each, self.upscaler) for each in canvas.pictures]
        if not self.denoising_strength:
            return larger
        return self._second_pass(size).draw(self._watched(tools), seeds=canvas.seeds, pictures=larger).pictures

    def _second_pass(self, size: Size) -> Diffusion:
        """All of `steps` are taken: the last ones of a longer schedule, of which they are `denoising_strength`."""
        strength = min(self.denoising_strength, MAX_STRENGTH)
        most = min(MAX_SCHEDULE, MAX_STEPS.get(Sampler(self.diffusion.sampler), MAX_SCHEDULE))
        schedule = max(min(int(self.steps / strength), most), 1)
        taken = min(self.steps, max(round(schedule * strength), 1))
        return replace(
            self.diffusion,
            width=size[0],
            height=size[1],
            steps=schedule,
            # Half a step more: the engine rounds down.
            denoising_strength=min((taken + 0.5) / schedule, 1.0),
        )

    def _watched(self, tools: Tools) -> Tools:
        return replace(tools, watch=PassWatch(watch=tools.watch, work=self.work))

    def pixel_faults(self, before: Size | None, path: str) -> list[Fault]:
        """What the published budget forbids; `path` names the stage's fields."""
        width, height = self.size_after(before)
        if MIN_PIXELS <= width * height <= MAX_PIXELS:
            return []
        reason = f"makes {width} × {height} = {width * height} pixels; {MIN_PIXELS} to {MAX_PIXELS} are allowed"
        return [Fault(f"{path}.hrScale" if self.scale is not None else path, reason)]


def _stretched(engine: Engine, picture: Picture, size: Size) -> Picture:
    if (picture.width, picture.height) == size:
        return picture
    return engine.enlarge(picture, Upscaler.LANCZOS, width=size[0], height=size[1], keeps_ratio=False)


def _scaled(side: int, scale: float) -> int:
    return max(round(side * scale / SCALED_GRID_PX), 1) * SCALED_GRID_PX
