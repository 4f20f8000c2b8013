"""What a stage may lean on to make pixels: the engine's verbs. It names no framework.

Checkpoints, conditionings, latents and controls are the engine's own handles: a stage passes them on and
never looks inside.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from jobs.attachments import ControlNet, Lora
from jobs.detectors import Look
from jobs.inpainting import Cut, Masking
from jobs.preprocessors import Preprocessor
from jobs.prompt import Prompt

Checkpoint: TypeAlias = Any
Conditioning: TypeAlias = Any
Latents: TypeAlias = Any
Control: TypeAlias = Any


class Picture(Protocol):
    """An 8-bit RGB raster. `PIL.Image.Image` is one."""

    @property
    def width(self) -> int: ...

    @property
    def height(self) -> int: ...


class Cutout(Protocol):
    """A part of a picture. `picture` and `mask` have the size at which it is to be drawn again; but a picture that
    the cut wants resized as latents has its own."""

    @property
    def picture(self) -> Picture: ...

    @property
    def mask(self) -> Picture: ...

    def put_back(self, drawn: Picture) -> Picture:
        """The whole with the part as it was drawn, of any size. Where the mask is black every bit is as it was."""


class Watch(Protocol):
    """Sees each denoising step; ends the work by raising (AttemptLost, WorkerStopping)."""

    def step_done(self, step: int, steps: int, preview: Callable[[], Sequence[Picture]]) -> None:
        """Called after step `step` of `steps` (from 1). `preview()` renders each output so far, small."""

    def check(self) -> None:
        """Called again and again in long work that has no steps."""

    def note(self, text: str) -> None:
        """Something that the job's account should know of a job that succeeds."""


def go_on() -> None:
    """A check that ends nothing."""


class Engine(Protocol):
    """All methods but `loading_s` block, and are called from one thread at a time."""

    def loading_s(self) -> Mapping[str, float]:
        """By model: 0 for one that is loaded, and for others in how many seconds it was loaded the last time; of LoRAs,
        merged."""

    def load(self, model_id: str, loras: Sequence[Lora] = (), vae: str | None = None) -> Checkpoint:
        """The checkpoint of this catalogue id, from the cache or from disk, with these LoRAs until it is loaded again.

        `vae` is the catalogue id of one that takes the place of its own.
        Raises FatalFailure if one of them is unknown, damaged, of an unsupported kind or for another checkpoint.
        """

    def encode_prompt(
        self,
        checkpoint: Checkpoint,
        *,
        prompt: Prompt,
        negative: Prompt,
        clip_skip: int,
        embeddings: Sequence[str] = (),
    ) -> Conditioning:
        """Text for the denoiser. `clip_skip` 1 is the last hidden layer, 2 the one before (A1111's count).

        `embeddings` are catalogue ids of learned words; both prompts may use their names.
        """

    def encode_pictures(
        self, checkpoint: Checkpoint, pictures: Sequence[Picture], *, width: int, height: int
    ) -> Latents:
        """Latents (len(pictures), C, h, w) of the pictures, each resized to width × height pixels."""

    def control(
        self,
        checkpoint: Checkpoint,
        controlnet: ControlNet,
        *,
        picture: Picture,
        mask: Picture | None,
        width: int,
        height: int,
    ) -> Control:
        """What guides a drawing of width × height pixels, made of `picture` by the preprocessor.

        Raises FatalFailure if the network is unknown, damaged, of an unsupported kind or for another checkpoint.
        """

    def preprocess(
        self, picture: Picture, preprocessor: Preprocessor, parameters: Mapping[str, float], network: str
    ) -> Picture:
        """What the preprocessor makes of the picture, of its size. `network` is the catalogue id of what it looks with.

        Raises FatalFailure if the network is unknown, damaged or of another kind.
        """

    def sample(
        self,
        checkpoint: Checkpoint,
        conditioning: Conditioning,
        *,
        width: int,
        height: int,
        seeds: Sequence[int],
        sampler: str,
        steps: int,
        guidance_scale: float,
        watch: Watch,
        start: Latents | None = None,
        strength: float = 1.0,
        masking: Masking | None = None,
        controls: Sequence[Control] = (),
        noise_seed_delta: int = 0,
        schedule: str | None = None,
    ) -> Latents:
        """Denoised latents (len(seeds), C, h, w), one per seed.

        With `start`, (1 or len(seeds), C, h, w), begins from it at `strength` in (0, 1]: 1 keeps next to nothing of it.
        With `masking` too, the latents of what is not masked are those of `start`.
        `noise_seed_delta` is added to the seeds of the noise that a sampler lays over the latents as it goes;
        `schedule` None is the sampler's own.
        Raises FatalFailure for a sampler it does not know, or a size that the model cannot make.
        """

    def decode(self, checkpoint: Checkpoint, latents: Latents) -> list[Picture]:
        """One picture per latent."""

    def find(self, picture: Picture, look: Look) -> list[Picture]:
        """A mask for each thing that is found, white where it is, the likeliest first.

        Raises FatalFailure for a detector that cannot be run.
        """

    def cut_out(self, picture: Picture, mask: Picture, cut: Cut) -> Cutout:
        """The masked part of the picture, or the whole. Raises FatalFailure if the mask is none of this picture."""

    def next_size(self, checkpoint: Checkpoint, width: int, height: int) -> tuple[int, int]:
        """The least width and height, not under these, that the model can draw."""

    def resize_latents(
        self,
        checkpoint: Checkpoint,
        latents: Latents,
        upscaler: str,
        *,
        width: int,
        height: int,
        keeps_ratio: bool = True,
    ) -> Latents:
        """Latents of width × height pixels, interpolated as the upscaler of this name does it.

        Where they are of another ratio, the middle of larger ones; or stretched, if they need not keep it.
        """

    def enlarge(
        self,
        picture: Picture,
        upscaler: str,
        *,
        width: int,
        height: int,
        keeps_ratio: bool = True,
        check: Callable[[], None] = go_on,
    ) -> Picture:
        """The picture at this size, by an upscaler that works on pixels: its name, or the catalogue id of a network.

        Where it is of another ratio, the middle of a larger one; or stretched, if it need not keep it.
        `check` is called for each part of it, and ends the work by raising.
        Raises FatalFailure for a network that cannot be loaded.
        """

    def small(self, picture: Picture) -> Picture:
        """As large as a preview."""
