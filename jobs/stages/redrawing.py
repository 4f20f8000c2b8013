"""What the stages that change a finished picture have in common."""

from dataclasses import dataclass

from jobs.stages.canvas import Size
from jobs.stages.diffusion import Diffusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrawing:
    """`diffusion` is the job's DIFFUSION stage, or where there is none the one given for this stage."""

    diffusion: Diffusion

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.diffusion.inputs

    @property
    def work(self) -> int:
        return self.diffusion.steps

    def size_after(self, before: Size | None) -> Size:
        return before or self.diffusion.size_after(None)
