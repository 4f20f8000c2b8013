"""`imageToInpaint`."""

from typing import Annotated

from jobs.dialects.protobuf_json import DefaultIsAbsent, Flag, Message, Name, Real, Whole, requiring
from jobs.dialects.tams.diffusion import DiffusionBody, diffusion_of
from jobs.dialects.tams.reading import Reading
from jobs.inpainting import Fill, ResizeMode
from jobs.stages import image_to_inpaint as limits
from jobs.stages.image_to_inpaint import ImageToInpaint

DEFAULT_BLUR_PX = 4.0
DEFAULT_PADDING_PX = 32


class ImageToInpaintBody(Message):
    model_config = requiring("maskImageResourceId")

    resize_mode: Annotated[ResizeMode | None, DefaultIsAbsent] = None
    mask_image_resource_id: Name | None = None
    mask_blur: Annotated[float | None, Real(0, limits.MAX_MASK_BLUR_PX)] = None
    inpainting_fill: Annotated[Fill | None, DefaultIsAbsent] = None
    inpaint_full_res: Flag = None
    inpaint_full_res_padding: Annotated[int | None, Whole(0, limits.MAX_PADDING_PX)] = None
    inpaint_mask_invert: Annotated[int | None, Whole(0, 1)] = None
    diffusion: DiffusionBody | None = None

    def stage(self, path: str, reading: Reading) -> ImageToInpaint:
        blur, padding = self.mask_blur, self.inpaint_full_res_padding
        return ImageToInpaint(
            mask=reading.required(self.mask_image_resource_id, f"{path}.maskImageResourceId"),
            resize_mode=self.resize_mode or "JUST_RESIZE",
            mask_blur_px=DEFAULT_BLUR_PX if blur is None else blur,
            fill=self.inpainting_fill or "ORIGINAL",
            full_resolution=self.inpaint_full_res is not False,
            padding_px=DEFAULT_PADDING_PX if padding is None else padding,
            invert_mask=bool(self.inpaint_mask_invert),
            diffusion=diffusion_of(self.diffusion, path, reading),
        )
