"""DIFFUSION: pictures from text, or from text and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from jobs.attachments import Animation, ControlNet, Lora
from jobs.catalog import Family, Model
from jobs.engine import Checkpoint, Control, Engine, Latents, Picture
from jobs.errors import Fault
from jobs.inpainting import Masking
from jobs.prompt import Prompt
from jobs.record import record
from jobs.samplers import MAX_STEPS as MAX_STEPS_OF_SAMPLERS
from jobs.samplers import Sampler
from jobs.stages.canvas import Canvas, Size, Tools

GRID_PX = 64
MIN_SIDE_PX = 512
MAX_SIDE_PX = 1536
MAX_PROMPTS = 150
# Of all prompts of one kind together. Text is encoded in windows of 75 tokens, and a step's time grows with them.
MAX_PROMPT_CHARACTERS = 20_000
MAX_STEPS = 60
MAX_GUIDANCE = 30.0
MAX_CLIP_SKIP = 12
DEFAULT_SIDE_PX = 512
DEFAULT_STEPS = 20
DEFAULT_GUIDANCE = 7.0
# What FLUX is told, and not what is computed. Source: diffusers' FluxPipeline.
DEFAULT_GUIDANCE_OF = {Family.FLUX: 3.5}
DEFAULT_DENOISING_STRENGTH = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureSize:
    """The published bounds of a family: pixels in all, and pixels of the longer side."""

    min_pixels: int
    max_pixels: int
    max_side: int


_XL = PictureSize(min_pixels=262_144, max_pixels=2_073_600, max_side=1536)

# Source: TAMS, POST /v1/jobs, width and height: the 512, 768 and SDXL engines. None is published for the later
# families; they get the last one's.
SIZES = {
    Family.SD15: PictureSize(min_pixels=262_144, max_pixels=1_048_576, max_side=1024),
    Family.SD2: PictureSize(min_pixels=589_824, max_pixels=1_048_576, max_side=1024),
    Family.SDXL: _XL,
    Family.SD3: _XL,
    Family.FLUX: _XL,
}


@record
class Diffusion:
    """`model` is a catalogue id, and so is each of `embeddings`, the learned words that the prompts may use.
    `denoising_strength` counts only where the canvas holds a picture.

    What follows it says nothing at its default. `vae` None is the checkpoint's own, `schedule` None the sampler's
    own, `layer_diffusion` a weight, and None without transparency.
    """

    field_name: ClassVar[str] = "diffusion"
    type: Literal["DIFFUSION"] = "DIFFUSION"
    width: int
    height: int
    prompt: Prompt
    negative_prompt: Prompt = ()
    model: str
    sampler: str
    steps: int = DEFAULT_STEPS
    guidance_scale: float = DEFAULT_GUIDANCE
    clip_skip: int = 1
    denoising_strength: float = DEFAULT_DENOISING_STRENGTH
    vae: str | None = None
    eta_noise_seed_delta: int = 0
    controls: tuple[ControlNet, ...] = ()
    loras: tuple[Lora, ...] = ()
    animations: tuple[Animation, ...] = ()
    embeddings: tuple[str, ...] = ()
    v1_clip: bool = False
    schedule: str | None = None
    ella: bool = False
    pix2pix: bool = False
    hunyuan_dit: bool = False
    layer_diffusion: float | None = None
    clip_encoder: str | None = None

    @property
    def texts(self) -> list[str]:
        """In which learned words may be named."""
        return [piece.text for piece in (*self.prompt, *self.negative_prompt)]

    @property
    def models(self) -> tuple[str, ...]:
        """The catalogue ids of all that it draws with, first the checkpoint's."""
        named = [self.model, self.vae]
        for lora in self.loras:
            named.append(lora.model)
        for control in self.controls:
            named += control.model, control.preprocessor_model
        return tuple(filter(None, (*named, *self.embeddings)))

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(name for control in self.controls for name in control.inputs)

    @property
    def work(self) -> int:
        return self.steps

    def size_after(self, before: Size | None, initial: Size | None = None) -> Size:
        return self.width, self.height

    def run(self, canvas: Canvas, tools: Tools) -> Canvas:
        return self.draw(tools, seeds=canvas.seeds, pictures=canvas.pictures)

    def draw(
        self,
        tools: Tools,
        *,
        seeds: Sequence[int],
        pictures: Sequence[Picture] = (),
        start: Latents | None = None,
        masking: Masking | None = None,
    ) -> Canvas:
        """A picture per seed; from noise, or from `pictures`: one for all seeds, or one for each. Latents in `start`
        go before pictures; with `masking` only a part of them is drawn again."""
        engine = tools.engine
        checkpoint = self.checkpoint(engine)
        if start is None and pictures:
            start = engine.encode_pictures(checkpoint, pictures, width=self.width, height=self.height)
        conditioning = engine.encode_prompt(
            checkpoint,
            prompt=self.prompt,
            negative=self.negative_prompt,
            clip_skip=self.clip_skip,
            embeddings=self.embeddings,
        )
        controls = [self._control(tools, checkpoint, each) for each in self.controls]
        latents = engine.sample(
            checkpoint,
            conditioning,
            width=self.width,
            height=self.height,
            seeds=seeds,
            sampler=self.sampler,
            steps=self.steps,
            guidance_scale=self.guidance_scale,
            watch=tools.watch,
            start=start,
            strength=self.denoising_strength if start is not None else 1.0,
            masking=masking,
            controls=controls,
            noise_seed_delta=self.eta_noise_seed_delta,
            schedule=self.schedule,
        )
        pictures = tuple(engine.decode(checkpoint, latents))
        return Canvas(seeds=tuple(seeds), pictures=pictures, size=(self.width, self.height), latents=latents)

    def checkpoint(self, engine: Engine) -> Checkpoint:
        """What it draws, encodes and decodes with."""
        return engine.load(self.model, self.loras, self.vae)

    def _control(self, tools: Tools, checkpoint: Checkpoint, controlnet: ControlNet) -> Control:
        if controlnet.image is None:
            raise ValueError("the picture of a ControlNet is known when a job is accepted")
        return tools.engine.control(
            checkpoint,
            controlnet,
            picture=tools.pictures[controlnet.image],
            mask=tools.pictures[controlnet.mask] if controlnet.mask else None,
            width=self.width,
            height=self.height,
        )


def size_faults(width: int, height: int, family: Family, path: str) -> list[Fault]:
    """What the published bounds of the family forbid; `path` names the stage's fields."""
    size = SIZES[family]
    faults = []
    for side, pixels in (("width", width), ("height", height)):
        if pixels > size.max_side:
            reason = f"{pixels} is over the {size.max_side} pixels that a {family} model draws"
            faults.append(Fault(f"{path}.{side}", reason))
    if not size.min_pixels <= width * height <= size.max_pixels:
        bounds = f"{size.min_pixels} to {size.max_pixels}"
        faults.append(Fault(path, f"width × height is {width * height}; a {family} model draws {bounds} pixels"))
    return faults


def clip_skip_fault(clip_skip: int, model: Model) -> str | None:
    """Why this model has no such layer of CLIP to draw from, as far as the catalogue knows."""
    if model.family is Family.FLUX and clip_skip > 1:
        return "must be 1: a FLUX model reads no layer of CLIP but the last"
    if model.clip_layers is not None and clip_skip > model.clip_layers:
        return f"is {clip_skip}; the text encoder of {model.name} has {model.clip_layers} layers"
    return None


def default_guidance(family: Family) -> float:
    return DEFAULT_GUIDANCE_OF.get(family, DEFAULT_GUIDANCE)


def step_faults(steps: int, sampler: Sampler, path: str) -> list[Fault]:
    """What the sampler forbids that the API allows."""
    most = MAX_STEPS_OF_SAMPLERS.get(sampler, MAX_STEPS)
    return [Fault(f"{path}.steps", f"the sampler {sampler} takes at most {most} steps")] if steps > most else []
