"""`imageToUpscaler`."""

from functools import partial
from typing import Annotated

from jobs.dialects.protobuf_json import Message, Name, Real, Whole, requiring
from jobs.dialects.tams.diffusion import DiffusionBody, diffusion_of
from jobs.dialects.tams.reading import Reading
from jobs.stages import image_to_upscaler as limits
from jobs.stages.diffusion import GRID_PX, MAX_STEPS
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.upscalers import Upscaler, resolve

Side = Whole(limits.MIN_SIDE_PX, limits.MAX_SIDE_PX, GRID_PX)


class ImageToUpscalerBody(Message):
    model_config = requiring("hrUpscaler", "hrSecondPassSteps", "denoisingStrength")

    hr_upscaler: Name | None = None
    hr_resize_x: Annotated[int | None, Side] = None
    hr_resize_y: Annotated[int | None, Side] = None
    hr_scale: Annotated[float | None, Real(0, limits.MAX_SCALE, above=True)] = None
    hr_second_pass_steps: Annotated[int | None, Whole(1, MAX_STEPS)] = None
    denoising_strength: Annotated[float | None, Real(0, 1)] = None
    diffusion: DiffusionBody | None = None

    def stage(self, path: str, reading: Reading) -> ImageToUpscaler:
        self._check_required(path, reading)
        has_size = self.hr_resize_x and self.hr_resize_y
        scale = self.hr_scale or (None if has_size else 1.0)
        return ImageToUpscaler(
            upscaler=self._upscaler(path, reading),
            scale=scale,
            width=None if scale else self.hr_resize_x,
            height=None if scale else self.hr_resize_y,
            steps=self.hr_second_pass_steps or 1,
            denoising_strength=self.denoising_strength or 0.0,
            diffusion=diffusion_of(self.diffusion, path, reading),
        )

    def _check_required(self, path: str, reading: Reading) -> None:
        if self.hr_second_pass_steps is None:
            reading.faults.add(f"{path}.hrSecondPassSteps", "is required")
        if self.denoising_strength is None:
            reading.faults.add(f"{path}.denoisingStrength", "is required")
        if not self.hr_scale and not (self.hr_resize_x and self.hr_resize_y):
            reads = [f"{path}.{name}" for name in ("hrScale", "hrResizeX", "hrResizeY")]
            reading.faults.add(path, "needs hrScale, or hrResizeX and hrResizeY", reads=reads)

    def _upscaler(self, path: str, reading: Reading) -> str:
        if not self.hr_upscaler:
            reading.faults.add(f"{path}.hrUpscaler", "is required")
            return Upscaler.NONE
        return reading.named(
            partial(resolve, catalog=reading.catalog), self.hr_upscaler, f"{path}.hrUpscaler", Upscaler.NONE.value
        )
