"""VIDEO_DIFFUSION: a video from text, or from text and pictures. It does not run yet.

The API publishes names of fields and prices of models, and no range: the bounds are this service's.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from jobs.attachments import DEFAULT_FPS, Lora
from jobs.prompt import Prompt
from jobs.stages.canvas import Size

MIN_SIDE_PX = 64
MAX_SIDE_PX = 4096
DEFAULT_WIDTH_PX = 1280
DEFAULT_HEIGHT_PX = 768
DEFAULT_FRAMES = 24

# NORMAL and FAST are from the published prices; the other two are what a survey of the newer schema saw.
GenerationMode: TypeAlias = Literal["NORMAL", "FAST", "TEXT_TO_VIDEO", "IMAGE_TO_VIDEO"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoControl:
    """`video` is a resource id."""

    video: str | None = None
    preprocessor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyframes:
    """Resource ids of the pictures to begin and to end with."""

    start: str | None = None
    end: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoDiffusion:
    """`model` is a name as it came: the catalogue has checkpoints that draw pictures."""

    field_name: ClassVar[str] = "videoDiffusion"
    type: Literal["VIDEO_DIFFUSION"] = "VIDEO_DIFFUSION"
    model: str
    prompt: Prompt
    negative_prompt: Prompt = ()
    mode: GenerationMode = "NORMAL"
    width: int = DEFAULT_WIDTH_PX
    height: int = DEFAULT_HEIGHT_PX
    fps: int = DEFAULT_FPS
    total_frames: int = DEFAULT_FRAMES
    loras: tuple[Lora, ...] = ()
    model_access_key: str | None = None
    controls: tuple[VideoControl, ...] = ()
    keyframes: tuple[Keyframes, ...] = ()

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, *(lora.model for lora in self.loras))

    @property
    def inputs(self) -> tuple[str, ...]:
        pictures = (name for each in self.keyframes for name in (each.start, each.end))
        videos = (control.video for control in self.controls)
        return tuple(name for name in (*pictures, *videos) if name)

    @property
    def work(self) -> int:
        """Frames stand for steps, of which the API says nothing."""
        return self.total_frames

    def size_after(self, before: Size | None, initial: Size | None = None) -> Size:
        return self.width, self.height
