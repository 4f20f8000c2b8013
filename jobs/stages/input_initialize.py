"""INPUT_INITIALIZE: how many pictures, from which seed, and from which picture if any."""

from typing import ClassVar, Literal

from jobs.record import record
from jobs.stages.canvas import Canvas, Size, Tools

MAX_SEED = 2**32 - 1
MAX_COUNT = 4


@record
class InputInitialize:
    """`seed` None is drawn at acceptance; output i uses seed + i, modulo 2**32.

    `picture_size` is that of the resource, None where there is none, or before acceptance looks it up.
    """

    field_name: ClassVar[str] = "inputInitialize"
    type: Literal["INPUT_INITIALIZE"] = "INPUT_INITIALIZE"
    seed: int | None = None
    count: int = 1
    image_resource_id: str | None = None
    picture_size: Size | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Catalogue ids; it draws nothing."""
        return ()

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the resources it reads."""
        return (self.image_resource_id,) if self.image_resource_id else ()

    @property
    def work(self) -> int:
        """Its share of the job's progress, in denoising steps."""
        return 0

    def size_after(self, before: Size | None, initial: Size | None = None) -> Size | None:
        """Of the pictures on the canvas when it is done; None while no stage has said it.

        `initial` is that of the initial picture, which counts only where it stays what it is.
        """
        return before

    def run(self, canvas: Canvas, tools: Tools) -> Canvas:
        if self.seed is None:
            raise ValueError("the seed is drawn when a job is accepted")
        seeds = tuple((self.seed + i) % (MAX_SEED + 1) for i in range(self.count))
        return Canvas(seeds=seeds, pictures=tuple(tools.pictures[each] for each in self.inputs))
