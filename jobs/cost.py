"""How long a worker should take for a job, by what it asks for. It knows no worker: what was measured corrects it."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jobs.stages import Stage
from jobs.stages.canvas import Size
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.redrawing import Redrawing

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
    count, steps, largest, drawn = 1, 0, 0, []
    for stage, pixels in _drawn(stages):
        if isinstance(stage, InputInitialize):
            count = stage.count
        else:
            steps += stage.work * pixels
            largest = max(largest, pixels)
            drawn.append(stage)
    first = drawn[0]
    model = first.diffusion.model if isinstance(first, Redrawing) else first.model
    types = "+".join(sorted({stage.type for stage in drawn})) if len(drawn) > 1 else first.type
    seconds = SECONDS_AROUND + SECONDS_PER_MEGAPIXEL_STEP * count * steps / MEGAPIXEL
    return Work(seconds, f"{model} {largest.bit_length()} {types}")


def model_of(kind: str) -> str:
    """The model that jobs of this kind draw with first."""
    return kind.partition(" ")[0]


def _drawn(stages: Sequence[Stage]) -> Iterator[tuple[Stage, int]]:
    """Each stage with the pixels of a picture as it draws it."""
    size: Size | None = None
    for stage in stages:
        size = stage.size_after(size)
        drawn = size
        if isinstance(stage, Redrawing) and stage.draws_parts:
            drawn = stage.diffusion.width, stage.diffusion.height
        yield stage, drawn[0] * drawn[1] if drawn else 0
