"""IMAGE_TO_ADETAILER: finds faces or other details in a picture and draws them again.

Defaults that the API does not publish, and all ranges, are those of ADetailer, an extension of AUTOMATIC1111's web UI.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from typing import ClassVar, Literal

from jobs.attachments import Lora
from jobs.detectors import BUNDLED, Look
from jobs.engine import Cutout, Engine, Picture
from jobs.inpainting import Cut
from jobs.prompt import Prompt
from jobs.stages.canvas import Canvas, Size, Tools
from jobs.stages.diffusion import Diffusion
from jobs.stages.input_initialize import MAX_SEED
from jobs.stages.redrawing import PassWatch, Redrawing, redraw

MAX_PASSES = 8
MAX_DILATION_PX = 128
MAX_PADDING_PX = 256
MIN_SIDE_PX = 64
MAX_SIDE_PX = 2048
MIN_NOISE_MULTIPLIER = 0.5
MAX_NOISE_MULTIPLIER = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One look for one kind of detail. What is None or empty is as the stage's `diffusion` has it."""

    look: Look = field(default_factory=Look)
    prompt: Prompt = ()
    negative_prompt: Prompt = ()
    denoising_strength: float = 0.4
    only_masked: bool = True
    only_masked_padding_px: float = 32.0
    width: int | None = None
    height: int | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    loras: tuple[Lora, ...] = ()
    model: str | None = None
    sampler: str | None = None
    noise_multiplier: float | None = None
    clip_skip: int | None = None
    embeddings: tuple[str, ...] = ()

    def diffusion(self, of_stage: Diffusion) -> Diffusion:
        """What it is drawn with; LoRAs and learned words of its own are added to those of the stage."""
        return replace(
            of_stage,
            prompt=self.prompt or of_stage.prompt,
            negative_prompt=self.negative_prompt or of_stage.negative_prompt,
            denoising_strength=self.denoising_strength,
            steps=self.steps or of_stage.steps,
            guidance_scale=self.guidance_scale or of_stage.guidance_scale,
            loras=of_stage.loras + self.loras,
            model=self.model or of_stage.model,
            sampler=self.sampler or of_stage.sampler,
            clip_skip=self.clip_skip or of_stage.clip_skip,
            embeddings=tuple(dict.fromkeys(of_stage.embeddings + self.embeddings)),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageToAdetailer(Redrawing):
    """Each detail is looked for in what those before it made."""

    field_name: ClassVar[str] = "imageToAdetailer"
    type: Literal["IMAGE_TO_ADETAILER"] = "IMAGE_TO_ADETAILER"
    details: tuple[Detail, ...]

    @property
    def models(self) -> tuple[str, ...]:
        detectors = (detail.look.detector for detail in self.details if detail.look.detector != BUNDLED)
        drawn = (model for detail in self.details for model in detail.diffusion(self.diffusion).models)
        return (*self.diffusion.models, *detectors, *drawn)

    @property
    def draws_parts(self) -> bool:
        return True

    @property
    def draws_whole(self) -> bool:
        return any(not detail.only_masked and detail.width is None for detail in self.details)

    @property
    def work(self) -> int:
        """As if each look found one thing."""
        return sum(self.steps_of(detail) for detail in self.details)

    def steps_of(self, detail: Detail) -> int:
        return detail.steps or self.diffusion.steps

    def drawn_size(self, detail: Detail, size: Size | None) -> Size:
        """Of the masked part, or of the whole picture that the stages before made of this size."""
        plain = self.diffusion.width, self.diffusion.height
        width, height = plain if detail.only_masked else size or plain
        return detail.width or width, detail.height or height

    def run(self, canvas: Canvas, tools: Tools) -> Canvas:
        pictures, begin = list(canvas.pictures), Fraction(0)
        for number, detail in enumerate(self.details):
            share = Fraction(self.steps_of(detail), self.work * len(pictures))
            for index, seed in enumerate(canvas.seeds):
                masks = tools.engine.find(pictures[index], detail.look)
                if not masks:
                    tools.watch.note(f"imageToAdetailer.args[{number}] found nothing in picture {index + 1}")
                for i, mask in enumerate(masks):
                    part = share / len(masks)
                    seen = _Pass(pictures=pictures, index=index, begin=begin + i * part, end=begin + (i + 1) * part)
                    pictures[index] = self._redrawn(detail, mask, (seed + i) % (MAX_SEED + 1), canvas, tools, seen)
                begin += share
        return Canvas(
            seeds=canvas.seeds, pictures=tuple(pictures), size=self.size_after(canvas.size, canvas.picture_size)
        )

    def _redrawn(
        self, detail: Detail, mask: Picture, seed: int, canvas: Canvas, tools: Tools, seen: "_Pass"
    ) -> Picture:
        diffusion, picture = detail.diffusion(self.diffusion), seen.pictures[seen.index]
        cut = self._cut(detail, diffusion, picture, canvas.size, tools.engine)
        cutout = tools.engine.cut_out(picture, mask, cut)
        watch = PassWatch(
            watch=tools.watch,
            work=self.work,
            begin=seen.begin,
            end=seen.end,
            whole=partial(seen.all_small, tools.engine, cutout),
        )
        noise = detail.noise_multiplier or 1.0
        (redrawn,) = redraw(replace(tools, watch=watch), diffusion, [cutout], cut, [seed], noise)
        return redrawn

    def _cut(self, detail: Detail, diffusion: Diffusion, picture: Picture, size: Size | None, engine: Engine) -> Cut:
        """Of the masked part; or of the whole picture, with all of it as padding."""
        padding = int(detail.only_masked_padding_px) if detail.only_masked else max(picture.width, picture.height)
        width, height = engine.next_size(diffusion.checkpoint(engine), *self.drawn_size(detail, size))
        return Cut(width=width, height=height, padding_px=padding)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pass:
    """One drawing: which of the pictures it changes, and its part of the stage's work."""

    pictures: Sequence[Picture]
    index: int
    begin: Fraction
    end: Fraction

    def all_small(self, engine: Engine, cutout: Cutout, drawn: Sequence[Picture]) -> list[Picture]:
        whole = list(self.pictures)
        whole[self.index] = cutout.put_back(drawn[0])
        return [engine.small(each) for each in whole]
