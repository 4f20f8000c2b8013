"""`imageToAnimateDiff`: see its stage on where these fields come from."""

from typing import Annotated

from jobs.dialects.protobuf_json import Message, requiring
from jobs.dialects.tams.attachments import AnimationArgBody, AtMost
from jobs.dialects.tams.diffusion import DiffusionBody, diffusion_of
from jobs.dialects.tams.reading import Reading
from jobs.stages.image_to_animate_diff import ImageToAnimateDiff


class ImageToAnimateDiffBody(Message):
    model_config = requiring("args")

    args: Annotated[list[AnimationArgBody], AtMost] | None = None
    diffusion: DiffusionBody | None = None

    def stage(self, path: str, reading: Reading) -> ImageToAnimateDiff:
        if not self.args:
            reading.faults.add(f"{path}.args", "is required: `[{}]` takes all defaults")
        animations = (arg.attached(f"{path}.args[{i}]", reading) for i, arg in enumerate(self.args or []))
        return ImageToAnimateDiff(animations=tuple(animations), diffusion=diffusion_of(self.diffusion, path, reading))
