"""How long a worker should take for a job, by what it asks for. It knows no worker: what was measured corrects it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jobs.stages import Stage
from jobs.stages.canvas import Size
from jobs.stages.image_to_adetailer import ImageToAdetailer
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.redrawing import Redrawing
from jobs.submission import picture_sizes

MEGAPIXEL = 1024 * 1024
# To claim, read, encode the text, decode and store.
SECONDS_AROUND = 0.5
# Between that of one GPU and another: before anything was measured only what jobs are to each other counts.
SECONDS_PER_MEGAPIXEL_STEP = 0.2


class Work(NamedTuple):
    """`nominal_s`: steps times pixels times pictures, over all stages, in seconds. Jobs of one `kind` take as long as
    each other but for that: they have one model, the same power of two of pixels, and the same stages."""

    nominal_s: float
    kind: str


def work_of(stages: Sequence[Stage]) -> Work:
    """Of a job, which has one stage or more that draws."""
    drawn = [stage for stage in stages if not isinstance(stage, InputInitialize)]
    first = drawn[0]
    model = first.diffusion.model if isinstance(first, Redrawing) else first.model
    types = "+".join(sorted({stage.type for stage in drawn})) if len(drawn) > 1 else first.type
    count, pixels, largest, before = 1, 0, 0, None
    for stage, after in zip(stages, picture_sizes(stages), strict=True):
        if isinstance(stage, InputInitialize):
            count = stage.count
        for steps, (width, height) in _drawings(stage, before, after):
            pixels += steps * width * height
            largest = max(largest, width * height)
        before = after
    seconds = SECONDS_AROUND + SECONDS_PER_MEGAPIXEL_STEP * count * pixels / MEGAPIXEL
    return Work(seconds, f"{model} {largest.bit_length()} {types}")


def _drawings(stage: Stage, before: Size | None, after: Size | None) -> Iterable[tuple[int, Size]]:
    """Steps, and the size at which a picture takes them."""
    match stage:
        case InputInitialize():
            return ()
        case ImageToAdetailer():
            return [(stage.steps_of(each), stage.drawn_size(each, before)) for each in stage.details]
        case Redrawing() if stage.draws_parts:
            return [(stage.work, (stage.diffusion.width, stage.diffusion.height))]
        case _ if after is not None:
            return [(stage.work, after)]
        case _:
            return ()
