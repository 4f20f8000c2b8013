"""IMAGE_TO_INPAINT: draws the masked part of a picture again. It does not run yet."""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from jobs.stages.redrawing import Redrawing

# Those of AUTOMATIC1111's web UI: the API publishes none.
MAX_MASK_BLUR_PX = 64.0
MAX_PADDING_PX = 256

InpaintResizeMode: TypeAlias = Literal[
    "JUST_RESIZE", "CROP_AND_RESIZE", "RESIZE_AND_FILL", "JUST_RESIZE_LATENT_UPSCALE"
]
InpaintFill: TypeAlias = Literal["FILL", "ORIGINAL", "LATENT_NOISE", "LATENT_NOTHING"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToInpaint(Redrawing):
    """`mask` is the resource id of a picture of the same size; its white is drawn again, with `invert_mask` its black.

    `full_resolution` draws the masked part alone, with `padding_px` around it, at the size of `diffusion`.
    """

    field_name: ClassVar[str] = "imageToInpaint"
    type: Literal["IMAGE_TO_INPAINT"] = "IMAGE_TO_INPAINT"
    mask: str
    resize_mode: InpaintResizeMode = "JUST_RESIZE"
    mask_blur_px: float = 4.0
    fill: InpaintFill = "ORIGINAL"
    full_resolution: bool = True
    padding_px: int = 32
    invert_mask: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        return (self.mask, *self.diffusion.inputs)
