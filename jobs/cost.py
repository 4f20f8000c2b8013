"""How long a worker should take for a job, by what it asks for. It knows no worker: what was measured corrects it."""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

from jobs.stages import Stage
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import ImageToAdetailer
from jobs.stages.image_to_animate_diff import ImageToAnimateDiff
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.redrawing import Redrawing
from jobs.stages.video_diffusion import VideoDiffusion
from jobs.submission import picture_sizes

Drawing: TypeAlias = (
    Diffusion | ImageToUpscaler | ImageToAdetailer | ImageToInpaint | ImageToAnimateDiff | VideoDiffusion
)

MEGAPIXEL = 1024 * 1024
# To claim, read, encode the text, decode and store.
SECONDS_AROUND = 0.5
# Between that of one GPU and another: before anything was measured only what jobs are to each other counts.
SECONDS_PER_MEGAPIXEL_STEP = 0.2


def nominal_seconds(stages: Sequence[Stage]) -> float:
    """Steps times pixels times pictures, over all stages."""
    count = next((stage.count for stage in stages if isinstance(stage, InputInitialize)), 1)
    megapixel_steps = sum(stage.work * pixels / MEGAPIXEL for stage, pixels in _drawn(stages))
    return SECONDS_AROUND + SECONDS_PER_MEGAPIXEL_STEP * count * megapixel_steps


def kind_of(stages: Sequence[Stage]) -> str:
    """Jobs of one kind take as long as each other, but for what `nominal_seconds` knows of them: they have one model,
    the same power of two of pixels, and the same stages."""
    drawn = list(_drawn(stages))
    first = drawn[0][0]
    model = first.diffusion.model if isinstance(first, Redrawing) else first.model
    doublings = round(max(pixels for _, pixels in drawn)).bit_length()
    return f"{model} {doublings} {'+'.join(sorted({stage.type for stage, _ in drawn}))}"


def _drawn(stages: Sequence[Stage]) -> Iterator[tuple[Drawing, int]]:
    """The stages that draw, each with the pixels of a picture as it draws it."""
    for stage, size in zip(stages, picture_sizes(stages), strict=True):
        if isinstance(stage, InputInitialize) or size is None:
            continue
        if isinstance(stage, Redrawing) and stage.draws_parts:
            size = stage.diffusion.width, stage.diffusion.height
        yield stage, size[0] * size[1]
