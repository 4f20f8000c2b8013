"""IMAGE_TO_INPAINT: draws the masked part of a picture again."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from jobs.inpainting import Cut, Fill, ResizeMode
from jobs.stages.canvas import Canvas, Size, Tools
from jobs.stages.redrawing import PassWatch, Redrawing, put_back, redraw

# Those of AUTOMATIC1111's web UI: the API publishes none.
MAX_MASK_BLUR_PX = 64.0
MAX_PADDING_PX = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToInpaint(Redrawing):
    """`mask` is the resource id of a picture of the same size; its white is drawn again, with `invert_mask` its black.

    `full_resolution` draws the masked part alone, with `padding_px` around it, at the size of `diffusion`. Else the
    whole is drawn: pictures of a stage before at their size, and an initial one brought to that of `diffusion`.
    """

    field_name: ClassVar[str] = "imageToInpaint"
    type: Literal["IMAGE_TO_INPAINT"] = "IMAGE_TO_INPAINT"
    mask: str
    resize_mode: ResizeMode = "JUST_RESIZE"
    mask_blur_px: float = 4.0
    fill: Fill = "ORIGINAL"
    full_resolution: bool = True
    padding_px: int = 32
    invert_mask: bool = False

    @property
    def draws_parts(self) -> bool:
        return self.full_resolution

    @property
    def draws_whole(self) -> bool:
        return not self.full_resolution

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.mask, *self.diffusion.inputs)

    def run(self, canvas: Canvas, tools: Tools) -> Canvas:
        engine, cut = tools.engine, self._cut(canvas.size)
        cutouts = [engine.cut_out(picture, tools.pictures[self.mask], cut) for picture in canvas.pictures]
        watch = PassWatch(
            watch=tools.watch,
            work=self.work,
            whole=lambda drawn: [engine.small(each) for each in put_back(cutouts, drawn)],
        )
        pictures = redraw(replace(tools, watch=watch), self.diffusion, cutouts, cut, canvas.seeds)
        return Canvas(seeds=canvas.seeds, pictures=pictures, size=self.size_after(canvas.size, canvas.picture_size))

    def _cut(self, size: Size | None) -> Cut:
        drawn = self.diffusion.width, self.diffusion.height
        width, height = drawn if self.full_resolution or size is None else size
        return Cut(
            width=width,
            height=height,
            padding_px=self.padding_px if self.full_resolution else None,
            blur_px=self.mask_blur_px,
            fill=self.fill,
            resize_mode=self.resize_mode,
            invert_mask=self.invert_mask,
        )
