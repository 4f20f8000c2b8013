"""What flows from one stage to the next. It holds pixels and never makes any."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from jobs.engine import Engine, Latents, Picture, Watch

Size: TypeAlias = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """`seeds` has one seed per output. `pictures` is empty before the first stage that makes one; an initial
    picture is single and stands for all outputs. `size` is what the stages so far made of `size_after`:
    None before the first that draws. `latents` are those of `pictures` as they were drawn, or None."""

    seeds: tuple[int, ...] = ()
    pictures: tuple[Picture, ...] = ()
    size: Size | None = None
    latents: Latents | None = None

    @property
    def picture_size(self) -> Size:
        """Of the pictures themselves, whoever made them."""
        return self.pictures[0].width, self.pictures[0].height


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What a running stage may use. `pictures` holds the resources that the job's stages named as inputs."""

    engine: Engine
    watch: Watch
    pictures: Mapping[str, Picture]
