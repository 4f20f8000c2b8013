"""IMAGE_TO_ANIMATE_DIFF: a picture that begins to move. It does not run yet.

The API publishes the name of this stage and nothing of its fields: they are taken to be those of DIFFUSION's
`animateDiff`, and a `diffusion` as other stages that begin from a picture have it.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from jobs.attachments import Animation
from jobs.stages.redrawing import Redrawing


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToAnimateDiff(Redrawing):
    field_name: ClassVar[str] = "imageToAnimateDiff"
    type: Literal["IMAGE_TO_ANIMATE_DIFF"] = "IMAGE_TO_ANIMATE_DIFF"
    animations: tuple[Animation, ...]

    @property
    def models(self) -> tuple[str, ...]:
        motions = (lora.model for animation in self.animations for lora in animation.motion_loras)
        return (*self.diffusion.models, *motions)
