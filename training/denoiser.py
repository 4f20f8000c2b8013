"""The denoiser: a small UNet that learns v-prediction on cached latents, from states of the frozen text encoder.

`addition_embed_type="text"` pools the text's states into the time embedding, beside cross-attention: colour, shape
and place reach every block from the first step on. The measure of progress is the loss with the right captions
against shuffled ones at high noise; the plain loss falls whether or not the text is heard.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from training.loop import Schedule, checkpointed

# Of latents in a batch: 32 pictures at 256×256, 8 at 512×512.
POSITIONS = 8192
EMPTY_CAPTIONS = 0.1
AVERAGE = 0.998
LARGE = ("512x512", "512x768", "768x512", "640x640", "768x768", "1024x1024")
SCHEDULER = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.02,
    "prediction_type": "v_prediction",
    "num_train_timesteps": 1000,
    "clip_sample": False,
    "steps_offset": 1,
}

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Phase:
    """`share` of the steps on pictures of these sizes (their shards' file names begin so)."""

    share: float
    sizes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pass:
    """A run of the optimizer: `rate` is held for `hold` of the steps."""

    rate: float
    steps: int
    hold: float
    phases: tuple[Phase, ...]


# Small pictures teach what words mean, large ones what edges are. All of one cost: see POSITIONS.
FIRST_PASS = Pass(8e-4, 11_000, 0.5, (Phase(0.3, ("256x256",)), Phase(0.25, ("384x384",)), Phase(0.45, LARGE)))
SECOND_PASS = Pass(6e-4, 9_000, 0.3, (Phase(1.0, LARGE),))


def new_denoiser() -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=32,
        in_channels=8,
        out_channels=8,
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=8,
        block_out_channels=(64, 96, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    ).to(memory_format=torch.channels_last)


class Pool:
    """All shards of some sizes. New files are taken in while it is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._shards: dict[str, tuple[Tensor, Tensor]] = {}

    def refresh(self) -> None:
        for file in sorted(self._folder.glob("*.pt")):
            if file.name not in self._shards:
                saved = torch.load(file, weights_only=True)
                self._shards[file.name] = (saved["latents"], saved["states"])

    def batch(self, sizes: tuple[str, ...], positions: int) -> tuple[Tensor, Tensor]:
        """(n, 8, h, w) and (n, 77, 128), from one shard, where n × h × w is about `positions`."""
        names = [name for name in self._shards if name.startswith(sizes)]
        latents, states = self._shards[names[int(torch.randint(len(names), ()))]]
        count = max(2, positions // (latents.shape[-1] * latents.shape[-2]))
        chosen = torch.randint(len(latents), (count,))
        which = int(torch.randint(len(states), ()))
        return latents[chosen].float().contiguous(memory_format=torch.channels_last), states[which, chosen].float()


class Noise:
    """The noise that training adds, by time step."""

    def __init__(self) -> None:
        self.scheduler = DDPMScheduler(**SCHEDULER)
        self._kept: Tensor = self.scheduler.alphas_cumprod

    def noisy(self, latents: Tensor, noise: Tensor, times: Tensor) -> tuple[Tensor, Tensor]:
        """What the denoiser sees, and the v that it must tell."""
        signal = self._kept[times].sqrt()[:, None, None, None]
        spread = (1 - self._kept[times]).sqrt()[:, None, None, None]
        return signal * latents + spread * noise, signal * noise - spread * latents


def random_times(count: int) -> Tensor:
    """Even over all steps, with a third again where the layout is decided."""
    times = torch.randint(0, 1000, (count,))
    high = torch.rand(count) < 0.25
    times[high] = torch.randint(600, 1000, (int(high.sum()),))
    return times


def train_denoiser(
    model: UNet2DConditionModel, course: Pass, pool: Pool, empty: Tensor, folder: Path, file: Path
) -> None:
    """`empty` is the states of "", (77, 128)."""
    noise, average = Noise(), copy.deepcopy(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=course.rate, betas=(0.9, 0.99), weight_decay=1e-2)
    schedule = Schedule(course.rate, course.steps, hold=course.hold)
    smooth: dict[int, float] = {}
    pool.refresh()
    for step in checkpointed(file, {"model": model, "average": average, "optimizer": optimizer}, course.steps):
        if step % 50 == 0:
            pool.refresh()
        schedule.apply(optimizer, step)
        sizes = _phase(course.phases, step / course.steps).sizes
        latents, states = pool.batch(sizes, POSITIONS)
        states[torch.rand(len(states)) < EMPTY_CAPTIONS] = empty
        loss = _loss(model, noise, latents, states, random_times(len(latents)))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        follow(average, model, min(AVERAGE, (1 + step) / (10 + step)))
        side = latents.shape[-1]
        smooth[side] = 0.98 * smooth.get(side, loss.item()) + 0.02 * loss.item()
        if step % 200 == 0:
            log.info("denoiser", step=step, loss={k: round(v, 4) for k, v in smooth.items()})
        if step % 1000 == 0:
            log.info("heard", step=step, **heard(average, noise, *pool.batch(sizes, 4 * POSITIONS)))
            average.save_pretrained(folder)
    average.eval().save_pretrained(folder)


def _phase(phases: tuple[Phase, ...], done: float) -> Phase:
    for phase in phases:
        done -= phase.share
        if done < 0:
            return phase
    return phases[-1]


def _loss(model: nn.Module, noise: Noise, latents: Tensor, states: Tensor, times: Tensor) -> Tensor:
    seen, velocity = noise.noisy(latents, torch.randn_like(latents), times)
    return functional.mse_loss(model(seen, times, states).sample, velocity)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """Brings the average weights nearer to the model's."""
    mine, theirs = list(average.parameters()), list(model.parameters())
    torch._foreach_lerp_(mine, theirs, 1 - keep)


@torch.inference_mode()
def heard(model: nn.Module, noise: Noise, latents: Tensor, states: Tensor) -> dict[str, str]:
    """The loss at some time steps, with the right captions against those of other pictures."""
    return {f"t{time}": "/".join(f"{each:.4f}" for each in _both(model, noise, latents, states, time))
            for time in (980, 900, 700, 400, 150)}  # fmt: skip


def _both(model: nn.Module, noise: Noise, latents: Tensor, states: Tensor, time: int) -> Iterator[float]:
    times = torch.full((len(latents),), time)
    for told in (states, states.roll(1, 0)):
        yield _loss(model, noise, latents, told, times).item()
