"""What the stages that change a finished picture have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

from jobs.engine import Checkpoint, Cutout, Engine, Latents, Picture, Watch
from jobs.inpainting import Cut, Masking
from jobs.stages.canvas import Size, Tools
from jobs.stages.diffusion import Diffusion
from jobs.upscalers import Upscaler


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrawing:
    """`diffusion` is the job's DIFFUSION stage, or where there is none the one given for this stage."""

    diffusion: Diffusion

    @property
    def draws_parts(self) -> bool:
        """Whether only a part of a picture is drawn, larger than it is."""
        return False

    @property
    def models(self) -> tuple[str, ...]:
        return self.diffusion.models

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.diffusion.inputs

    @property
    def work(self) -> int:
        return self.diffusion.steps

    def size_after(self, before: Size | None, initial: Size | None = None) -> Size | None:
        """A picture of which a part is drawn keeps its size."""
        return before or (initial if self.draws_parts else self.diffusion.size_after(None))

    @property
    def draws_whole(self) -> bool:
        """Whether the whole picture is drawn, at the size that the stages before gave it."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class PassWatch:
    """Sees one drawing of several that a stage makes, which brings it from `begin` to `end`, shares of its `work`.

    `whole` makes pictures as the job will have them of those that are being drawn, where these are parts.
    """

    watch: Watch
    work: int
    begin: Fraction = Fraction(0)
    end: Fraction = Fraction(1)
    whole: Callable[[Sequence[Picture]], Sequence[Picture]] = tuple

    def step_done(self, step: int, steps: int, preview: Callable[[], Sequence[Picture]]) -> None:
        share = self.begin + (self.end - self.begin) * Fraction(step, steps)
        self.watch.step_done(ceil(share * self.work), self.work, lambda: self.whole(preview()))

    def check(self) -> None:
        self.watch.check()

    def note(self, text: str) -> None:
        self.watch.note(text)


def redraw(
    tools: Tools,
    diffusion: Diffusion,
    cutouts: Sequence[Cutout],
    cut: Cut,
    seeds: Sequence[int],
    noise_multiplier: float = 1.0,
) -> tuple[Picture, ...]:
    """The pictures from which the cutouts were made, each with its masked part drawn again. They share a mask.

    A part is drawn without ControlNets: what guides them shows the whole.
    """
    controls = diffusion.controls if cut.padding_px is None else ()
    sized = replace(diffusion, width=cut.width, height=cut.height, controls=controls)
    pictures = [cutout.picture for cutout in cutouts]
    drawn = sized.draw(
        tools,
        seeds=seeds,
        pictures=pictures,
        start=_grown(tools.engine, sized, pictures) if cut.grows_as_latents else None,
        masking=Masking(mask=cutouts[0].mask, fill=cut.fill, noise_multiplier=noise_multiplier),
    )
    return tuple(put_back(cutouts, drawn.pictures))


def put_back(cutouts: Sequence[Cutout], drawn: Sequence[Picture]) -> list[Picture]:
    return [cutout.put_back(each) for cutout, each in zip(cutouts, drawn, strict=True)]


def latents_of(engine: Engine, checkpoint: Checkpoint, pictures: Sequence[Picture]) -> Latents:
    """Of pictures of one size; at that size, or at the next one that has latents."""
    width, height = engine.next_size(checkpoint, pictures[0].width, pictures[0].height)
    return engine.encode_pictures(checkpoint, pictures, width=width, height=height)


def _grown(engine: Engine, diffusion: Diffusion, pictures: Sequence[Picture]) -> Latents:
    """Latents of the pictures at their own size, stretched to that of `diffusion`."""
    checkpoint = diffusion.checkpoint(engine)
    latents = latents_of(engine, checkpoint, pictures)
    return engine.resize_latents(
        checkpoint, latents, Upscaler.LATENT, width=diffusion.width, height=diffusion.height, keeps_ratio=False
    )
