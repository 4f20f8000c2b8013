"""IMAGE_TO_ADETAILER: finds faces or hands in a picture and draws them again. It does not run yet.

Defaults that the API does not publish, and all ranges, are those of ADetailer, an extension of AUTOMATIC1111's web UI.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from jobs.attachments import Lora
from jobs.prompt import Prompt
from jobs.stages.redrawing import Redrawing

MAX_PASSES = 8
MAX_DILATION_PX = 128
MAX_PADDING_PX = 256
MIN_SIDE_PX = 64
MAX_SIDE_PX = 2048
MIN_NOISE_MULTIPLIER = 0.5
MAX_NOISE_MULTIPLIER = 1.5

MaskMerge: TypeAlias = Literal["None", "Merge", "Merge and Invert"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One look for one kind of detail. What is None is as the stage's `diffusion` has it."""

    detector: str = "face_yolov8n.pt"
    prompt: Prompt = ()
    negative_prompt: Prompt = ()
    confidence: float = 0.3
    dilate_erode_px: int = 4
    mask_merge: MaskMerge = "None"
    denoising_strength: float = 0.4
    only_masked: bool = True
    only_masked_padding_px: float = 32.0
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    loras: tuple[Lora, ...] = ()
    model: str | None = None
    sampler: str | None = None
    noise_multiplier: float | None = None
    clip_skip: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToAdetailer(Redrawing):
    field_name: ClassVar[str] = "imageToAdetailer"
    type: Literal["IMAGE_TO_ADETAILER"] = "IMAGE_TO_ADETAILER"
    details: tuple[Detail, ...]

    @property
    def work(self) -> int:
        """As if each look found one thing."""
        return sum(detail.steps or self.diffusion.steps for detail in self.details)
