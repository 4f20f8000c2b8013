"""What a stage may attach to the checkpoint it draws with. It loads nothing."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from jobs.preprocessors import Preprocessor

MAX_ATTACHMENTS = 16
MAX_WEIGHT = 10.0
MAX_VIDEO_LENGTH = 1000
MAX_FPS = 120
DEFAULT_VIDEO_LENGTH = 16
DEFAULT_FPS = 8

ControlResizeMode: TypeAlias = Literal["JUST_RESIZE", "CROP_AND_RESIZE", "RESIZE_AND_FILL"]
ControlMode: TypeAlias = Literal["BALANCED", "MY_PROMPT_IS_MORE_IMPORTANT", "CONTROLNET_IS_MORE_IMPORTANT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """`model` is a catalogue id. `block_weight` is `<weight>:lbw=<a weight per block>`, as the API writes it; a weight
    in it counts in place of `weight`."""

    model: str
    weight: float = 1.0
    block_weight: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlNet:
    """A picture that guides: `image` and `mask` are resource ids. One that was accepted has an `image`: where the job
    names none, the initial picture's.

    `model` is a catalogue id. It counts from `guidance_start` to `guidance_end`, shares of the steps, and where `mask`
    is white. `preprocessor_params` holds all of its preprocessor's; `preprocessor_model` is the catalogue id of the
    network that this one looks with, None of an algorithm.
    """

    model: str
    preprocessor: Preprocessor
    image: str | None = None
    mask: str | None = None
    weight: float = 1.0
    resize_mode: ControlResizeMode = "CROP_AND_RESIZE"
    guidance_start: float = 0.0
    guidance_end: float = 1.0
    control_mode: ControlMode = "BALANCED"
    pixel_perfect: bool = False
    preprocessor_params: Mapping[str, float] = field(default_factory=dict)
    preprocessor_model: str | None = None

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for name in (self.image, self.mask) if name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Animation:
    """Frames in place of a picture; `motion_loras` say how the camera moves."""

    video_length: int = DEFAULT_VIDEO_LENGTH
    fps: int = DEFAULT_FPS
    motion_loras: tuple[Lora, ...] = ()
