"""CONTROLNET_DETECT: what a preprocessor makes of a picture, where that looks with a network. Nothing is drawn.

No job that is posted has it: `POST /v1/controlnet/detect` makes its jobs of INPUT_INITIALIZE and this.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from jobs.engine import Engine, Picture
from jobs.preprocessors import MAX_RESOLUTION_PX, Preprocessor
from jobs.stages.canvas import Canvas, Size, Tools
from jobs.upscalers import Upscaler


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlnetDetect:
    """`model` is the catalogue id of the network; `preprocessor_params` holds all of its preprocessor's."""

    field_name: ClassVar[str] = "controlnetDetect"
    type: Literal["CONTROLNET_DETECT"] = "CONTROLNET_DETECT"
    preprocessor: Preprocessor
    model: str
    preprocessor_params: Mapping[str, float] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model,)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Ids of the resources it reads: the picture is INPUT_INITIALIZE's."""
        return ()

    @property
    def work(self) -> int:
        """One look costs about what a step of drawing does."""
        return 1

    def size_after(self, before: Size | None, initial: Size | None = None) -> Size | None:
        """Of the picture, but no side over MAX_RESOLUTION_PX, as nothing that is drawn has one."""
        size = before or initial
        if size is None:
            return None
        scale = min(MAX_RESOLUTION_PX / max(size), 1)
        return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)

    def run(self, canvas: Canvas, tools: Tools) -> Canvas:
        size = self.size_after(canvas.picture_size) or canvas.picture_size
        pictures = tuple(self._seen(tools.engine, each, size) for each in canvas.pictures)
        return replace(canvas, pictures=pictures, size=size, latents=None)

    def _seen(self, engine: Engine, picture: Picture, size: Size) -> Picture:
        if (picture.width, picture.height) != size:
            picture = engine.enlarge(picture, Upscaler.LANCZOS, width=size[0], height=size[1], keeps_ratio=False)
        return engine.preprocess(picture, self.preprocessor, self.preprocessor_params, self.model)
