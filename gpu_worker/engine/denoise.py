"""The denoising loop: one forward pass of the denoiser for as many requests as share it.

Each request keeps a scheduler of its own, so they may differ in sampler, steps, guidance and seeds. It decodes nothing.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor

from gpu_worker.engine.architectures.architecture import Call
from gpu_worker.engine.checkpoint import Checkpoint
from gpu_worker.engine.control import Adapter, Control
from gpu_worker.engine.course import Course
from gpu_worker.engine.dpm import AdaptiveScheduler
from gpu_worker.engine.latents import generators, latent_shape, noise
from gpu_worker.engine.masking import Kept, kept_of
from gpu_worker.engine.text import Conditioning
from jobs.errors import FatalFailure
from jobs.inpainting import Masking

SEEDS = 2**32
FLOW = "flow_prediction"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the last call of the denoiser was given and said; `clean` if the scheduler made x0 of it already."""

    noisy: Tensor
    output: Tensor
    clean: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What the denoiser is given for one request; all but `controls`, those that count now, has its rows."""

    latents: Tensor
    timesteps: Tensor
    text: Tensor
    added: Mapping[str, Tensor]
    is_guided: bool
    controls: Sequence[Control | Adapter]

    def residuals(self) -> list[Tensor]:
        """What the ControlNets add to the denoiser's levels, each with a row for each of `latents`, the middle last."""
        rows = (self.latents, self.timesteps, self.text, dict(self.added))
        nets = [each for each in self.controls if isinstance(each, Control)]
        return _summed([control.residuals(*rows, is_guided=self.is_guided) for control in nets])

    def features(self) -> list[Tensor]:
        """What the adapters add, from the finest level to the coarsest, a row for each of `latents`."""
        adapters = [each for each in self.controls if isinstance(each, Adapter)]
        return _summed([adapter.rows(len(self.latents), is_guided=self.is_guided) for adapter in adapters])

    def pictures(self) -> list["Given"]:
        """The same, one picture at a time."""
        count = len(self.latents) // 2 if self.is_guided else len(self.latents)
        return [self._rows(slice(i, None, count)) for i in range(count)]

    def _rows(self, rows: slice) -> "Given":
        return replace(
            self,
            latents=self.latents[rows],
            timesteps=self.timesteps[rows],
            text=self.text[rows],
            added={name: each[rows] for name, each in self.added.items()},
        )


@dataclass(slots=True, kw_only=True)
class Denoising:
    """The state of one request between two calls of the denoiser.

    A request of n pictures has n rows, or 2n with guidance: first those of the negative prompt.
    `latents` is (n, C, h, w), `text` (rows, tokens, width). `added` holds what the architecture adds, such as SDXL's
    pooled texts and sizes, a row each. Some samplers call the denoiser more often than `steps`, and one
    that begins from a picture less often. `kept` is what the denoising may not change.
    """

    scheduler: Any
    latents: Tensor
    first_call: int
    steps: int
    guidance_scale: float
    guidance_rescale: float
    text: Tensor
    added: Mapping[str, Tensor]
    scheduler_options: Mapping[str, Any]
    calls_done: int = 0
    last: Prediction | None = field(default=None, repr=False)
    kept: Kept | None = field(default=None, repr=False)
    controls: Sequence[Control | Adapter] = field(default=(), repr=False)

    @property
    def timesteps(self) -> Tensor:
        """(calls,), from the first one that is made; those of a sampler that adapts become more as it goes."""
        timesteps: Tensor = self.scheduler.timesteps[self.first_call :]
        return timesteps

    @property
    def is_done(self) -> bool:
        return self.calls_done == len(self.timesteps)

    @property
    def steps_done(self) -> int:
        """From 0 to exactly `steps`; never falls."""
        if isinstance(self.scheduler, AdaptiveScheduler):
            return int(self.scheduler.share_done * self.steps)
        return self.calls_done * self.steps // len(self.timesteps)

    @property
    def next_call(self) -> tuple[float, float]:
        """From which share of the way to which it goes; of a sampler that adapts only the first is known."""
        if isinstance(self.scheduler, AdaptiveScheduler):
            return self.scheduler.share_done, self.scheduler.share_done
        calls = len(self.timesteps)
        return self.calls_done / calls, (self.calls_done + 1) / calls

    @property
    def is_guided(self) -> bool:
        return self.guidance_scale > 1

    @property
    def timestep(self) -> Tensor:
        return self.timesteps[self.calls_done]

    @property
    def rows(self) -> int:
        return len(self.text)

    def denoiser_input(self) -> Tensor:
        """(rows, C, h, w): the latents as the denoiser wants them at this timestep."""
        doubled = torch.cat([self.latents] * 2) if self.is_guided else self.latents
        scaled: Tensor = self.scheduler.scale_model_input(doubled, self.timestep)
        return scaled

    def given(self) -> "Given":
        """For the call that comes next."""
        return Given(
            latents=self.denoiser_input(),
            timesteps=self.timestep.float().expand(self.rows),
            text=self.text,
            added=self.added,
            is_guided=self.is_guided,
            controls=[control for control in self.controls if control.is_on(*self.next_call)],
        )

    def take(self, predicted: Tensor) -> None:
        """Moves on by one call; `predicted` is the denoiser's answer to `denoiser_input`."""
        output = self._guided(predicted) if self.is_guided else predicted
        options = self.scheduler_options
        after, *clean = self.scheduler.step(output, self.timestep, self.latents, **options, return_dict=False)
        self.last = Prediction(self.latents, output, clean[0] if clean else None)
        self.calls_done += 1
        if self.kept is not None:
            after = self.kept.within(after, self.scheduler, None if self.is_done else self.timestep)
        self.latents = after

    def _guided(self, predicted: Tensor) -> Tensor:
        """Source: Ho and Salimans 2022, arXiv:2207.12598, eq. 6."""
        avoided, wanted = predicted.chunk(2)
        guided = avoided + self.guidance_scale * (wanted - avoided)
        return _rescaled(guided, wanted, self.guidance_rescale) if self.guidance_rescale else guided

    def clean(self) -> Tensor:
        """(n, C, h, w): where the last prediction says that the latents end."""
        if self.last is None:
            return self.latents
        if self.last.clean is not None:
            return self.last.clean
        return self._clean_of(self.last)

    def _clean_of(self, last: Prediction) -> Tensor:
        """For latents of the form signal · x0 + spread · noise: with signal² + spread² = 1, or of a straight way.

        Source: Salimans and Ho 2022, arXiv:2202.00512, section 4 and appendix D.
        """
        # Schedulers that know nothing else do not name it.
        kind = self.scheduler.config.get("prediction_type", FLOW)
        if kind == FLOW:
            sigma: Tensor = self.scheduler.sigmas[self.scheduler.step_index - 1]
            return last.noisy - sigma * last.output
        signal, spread = self._signal_and_spread()
        match kind:
            case "epsilon":
                return (last.noisy - spread * last.output) / signal
            case "v_prediction":
                return signal * last.noisy - spread * last.output
            case _:
                return last.output

    def _signal_and_spread(self) -> tuple[Tensor, Tensor]:
        """Of the call that was made last. Only for schedulers that do not scale the denoiser's input."""
        if hasattr(self.scheduler, "sigmas"):
            sigma = self.scheduler.sigmas[self.scheduler.step_index - 1]
            signal = 1 / (sigma**2 + 1) ** 0.5
            return signal, sigma * signal
        kept = self.scheduler.alphas_cumprod[self.timesteps[self.calls_done - 1].cpu()]
        return kept**0.5, (1 - kept) ** 0.5


def begin(
    checkpoint: Checkpoint,
    conditioning: Conditioning,
    *,
    width: int,
    height: int,
    seeds: Sequence[int],
    sampler: str,
    steps: int,
    guidance_scale: float,
    start: Tensor | None = None,
    strength: float = 1.0,
    masking: Masking | None = None,
    controls: Sequence[Control | Adapter] = (),
    noise_seed_delta: int = 0,
    schedule: str | None = None,
) -> Denoising:
    """A request before its first call of the denoiser, one picture per seed.

    With `start`, (1 or n, C, h, w), only the last `strength` of the steps are taken, at least one; as in diffusers,
    a trace of `start` shines through even at strength 1, because the last training step is not pure noise.
    With `masking` only what is masked moves. `noise_seed_delta` is added to the seeds of the noise that a sampler lays
    over the latents as it goes, and not to those of the first.
    Raises FatalFailure for a size, sampler or number of steps that the model or sampler cannot take.
    """
    device = checkpoint.device.torch_device
    # A seed below 0 is none to every sampler.
    later_seeds = [(seed + noise_seed_delta) % SEEDS for seed in seeds]
    architecture = checkpoint.architecture
    _, *size = latent_shape(checkpoint, width=width, height=height)
    course = Course(
        sampler=sampler, schedule=schedule, steps=steps, seeds=later_seeds, size=(size[0], size[1]), device=device
    )
    scheduler = architecture.scheduler(checkpoint.scheduler_config, course)
    first_call = _first_call(scheduler, steps, strength=1.0 if start is None else strength)
    by_seed = generators(seeds)
    fresh = noise(checkpoint, by_seed, width=width, height=height)
    # With no delta they go on where the first noise ended, as in diffusers.
    later = generators(later_seeds) if noise_seed_delta else by_seed
    # Without a text to avoid, a model that was taught to follow its prompt is told how closely, and not guided.
    scale = guidance_scale if conditioning.negative is not None else 1.0
    kept = None
    if masking is not None and start is not None:
        kept = kept_of(start, fresh, masking)
        start, fresh = kept.start, fresh * masking.noise_multiplier
    return Denoising(
        scheduler=scheduler,
        latents=_first_latents(scheduler, first_call, fresh, start),
        first_call=first_call,
        steps=steps,
        guidance_scale=scale,
        guidance_rescale=checkpoint.model.guidance_rescale,
        text=_rows(conditioning.negative, conditioning.positive, len(seeds), is_guided=scale > 1),
        added=architecture.added(
            checkpoint.denoiser,
            _pooled(conditioning, len(seeds), is_guided=scale > 1),
            size=(height, width),
            guidance_scale=None if scale > 1 else guidance_scale,
        ),
        scheduler_options={"generator": later} if _takes_generator(scheduler) else {},
        kept=kept,
        controls=controls,
    )


def step(checkpoint: Checkpoint, batch: Sequence[Denoising]) -> None:
    """One call of the denoiser for all of `batch`, each of which moves on by one.

    Their latents must be of one shape and their texts of one length. A batch of one gives what diffusers does, to
    the bit; in a larger one the last bits depend on its size.
    """
    for denoising, rows in zip(batch, _predicted(checkpoint, [each.given() for each in batch]), strict=True):
        denoising.take(rows)


def predicted(checkpoint: Checkpoint, denoising: Denoising, *, one_by_one: bool) -> Tensor:
    """What the request shall `take`; by a call of the denoiser for each of its pictures, which needs less memory than
    one for all. It moves nothing, so it may be asked again."""
    given = denoising.given()
    if not one_by_one:
        return _predicted(checkpoint, [given])[0]
    pictures = [_predicted(checkpoint, [each])[0] for each in given.pictures()]
    # The negative prompt's rows come first.
    return torch.stack(pictures, dim=1).flatten(0, 1)


def _predicted(checkpoint: Checkpoint, batch: Sequence[Given]) -> Sequence[Tensor]:
    call = Call(
        latents=torch.cat([given.latents for given in batch]),
        timesteps=torch.cat([given.timesteps for given in batch]),
        text=torch.cat([given.text for given in batch]),
        added={name: torch.cat([given.added[name] for given in batch]) for name in batch[0].added},
        levels=_of_batch(batch, [given.residuals() for given in batch]),
        features=_of_batch(batch, [given.features() for given in batch]),
    )
    rows = checkpoint.architecture.answer(checkpoint.denoiser, call)
    return torch.split(rows, [len(given.latents) for given in batch])


def _of_batch(batch: Sequence[Given], each: Sequence[list[Tensor]]) -> list[Tensor]:
    """The levels with the rows of all; empty where no request has any."""
    levels = max(each, key=len)
    filled = [
        own or [level.new_zeros(len(given.latents), *level.shape[1:]) for level in levels]
        for given, own in zip(batch, each, strict=True)
    ]
    return _joined(filled, lambda parts: torch.cat(list(parts)))


def _summed(each: Sequence[list[Tensor]]) -> list[Tensor]:
    # Not stacked: those of one that pools globally have a single value for all places.
    return _joined(each, partial(reduce, add))


def _joined(each: Sequence[list[Tensor]], join: Callable[[Sequence[Tensor]], Tensor]) -> list[Tensor]:
    """The levels of all. Blocks of a transformer that are told the same are told one tensor, which may be large."""
    joined: dict[tuple[int, ...], Tensor] = {}
    for parts in zip(*each, strict=True):
        key = tuple(map(id, parts))
        if key not in joined:
            joined[key] = join(parts) if len(parts) > 1 else parts[0]
    return [joined[tuple(map(id, parts))] for parts in zip(*each, strict=True)]


def _first_call(scheduler: Any, steps: int, strength: float) -> int:
    """Where the last `strength` of the scheduler's calls begin, of at least one step; tells it so."""
    taken = min(max(int(steps * strength), 1), steps)
    first_call: int = (steps - taken) * scheduler.order
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(first_call)
    return first_call


def _first_latents(scheduler: Any, first_call: int, fresh: Tensor, start: Tensor | None) -> Tensor:
    if start is None:
        latents: Tensor = fresh * scheduler.init_noise_sigma
        return latents
    if start.shape[1:] != fresh.shape[1:] or len(start) not in (1, len(fresh)):
        raise FatalFailure(f"cannot begin from latents {tuple(start.shape)} where {tuple(fresh.shape)} are wanted")
    timestep = scheduler.timesteps[first_call : first_call + 1]
    noised: Tensor = scheduler.add_noise(start.expand_as(fresh), fresh, timestep.repeat(len(fresh)))
    return noised


def _rescaled(guided: Tensor, wanted: Tensor, share: float) -> Tensor:
    """Brings the deviation that guidance inflates back towards that of the unguided prediction, by `share`.

    Source: Lin et al. 2023, arXiv:2305.08891, eq. 15 and 16.
    """
    dims = tuple(range(1, guided.ndim))
    factor = wanted.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True)
    return share * (guided * factor) + (1 - share) * guided


def _rows(negative: Tensor | None, positive: Tensor, pictures: int, *, is_guided: bool) -> Tensor:
    """A row per picture, the negative prompt's rows first if there are any: the order of `denoiser_input`."""
    sources = (negative, positive) if is_guided and negative is not None else (positive,)
    return torch.cat([source.expand(pictures, *source.shape[1:]) for source in sources])


def _pooled(conditioning: Conditioning, pictures: int, *, is_guided: bool) -> Tensor | None:
    if conditioning.pooled_positive is None:
        return None
    return _rows(conditioning.pooled_negative, conditioning.pooled_positive, pictures, is_guided=is_guided)


def _takes_generator(scheduler: Any) -> bool:
    return "generator" in inspect.signature(scheduler.step).parameters
