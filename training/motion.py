"""The motion adapter: a clip slides to the right, and its fourth frame is where the prompt has it.

Motion words are unknown to the frozen text encoder, so one motion serves all prompts. What the adapter learns is told
by the denoiser itself: of a picture that is slid, it must say what the denoiser says of the picture, slid as far. That
has no chance in it, unlike noise added to drawn clips, of which some thousand steps learned nothing.
"""

import copy
from pathlib import Path

import numpy as np
import structlog
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from diffusers.models.attention_processor import AttnProcessor
from numpy.typing import NDArray
from torch import Tensor, nn

from gpu_worker.engine.motion import animated
from training.denoiser import Noise, Pool, follow
from training.judge import Seen
from training.loop import Schedule, checkpointed

# How far each frame is slid, in columns of latents. The fourth stays.
SLIDES = tuple(range(-3, 5))
COLUMNS = 32
FRAMES = len(SLIDES)
# The sizes that the denoiser's last pass saw: smaller pictures it has forgotten.
SIZES = ("512x512",)
STEPS = 1000
LEARNING_RATE = 1.5e-3
# How much each frame looks at itself before anything is learned.
SHARPNESS = 2.0
EMPTY_CAPTIONS = 0.1
AVERAGE = 0.99
LAST_TIME = 999

log = structlog.get_logger()


def new_adapter(unet: UNet2DConditionModel) -> MotionAdapter:
    """Untrained, it changes nothing."""
    adapter = MotionAdapter(
        block_out_channels=unet.config.block_out_channels,
        motion_layers_per_block=unet.config.layers_per_block,
        motion_num_attention_heads=4,
        motion_norm_num_groups=unet.config.norm_num_groups,
    )
    for name, weight in adapter.named_parameters():
        if ".proj_out." in name:
            nn.init.zeros_(weight)
    for name, layer in adapter.named_modules():
        if name.endswith(".attn1"):
            _look_at_itself(layer)
    return adapter


@torch.no_grad()
def _look_at_itself(attention: nn.Module) -> None:
    """Each frame reads its own number. Through weights at random it reads the mean of all frames, with its number a
    whisper: after 700 steps the deep layers still did the same to every frame."""
    for layer in (attention.to_q, attention.to_k, attention.to_v, attention.to_out[0]):
        nn.init.eye_(layer.weight)
    attention.to_q.weight *= SHARPNESS
    attention.to_k.weight *= SHARPNESS


def train_motion(unet: UNet2DConditionModel, pool: Pool, empty: Tensor, folder: Path, file: Path) -> None:
    """`empty` is the states of "", (1, 77, 128)."""
    model = animated(unet, new_adapter(unet)).to(memory_format=torch.channels_last).train()
    model.freeze_unet2d_params()
    # A seventh faster than the default where a sequence is eight frames.
    model.set_attn_processor(AttnProcessor())
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    pool.refresh()
    lessons, average, smooth = Lessons(unet, pool, empty), copy.deepcopy(model), 0.0
    schedule = Schedule(LEARNING_RATE, STEPS, warm_up=30, hold=0.5)
    optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    for step in checkpointed(file, {"model": model, "average": average, "optimizer": optimizer}, STEPS):
        schedule.apply(optimizer, step)
        loss = lessons.loss(model)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        follow(average, model, min(AVERAGE, (1 + step) / (10 + step)))
        smooth = 0.98 * (smooth or loss.item()) + 0.02 * loss.item()
        if step % 50 == 0:
            log.info("motion", step=step, loss=round(smooth, 4), slid=lessons.slid(average))
            save(average, folder)
    save(average, folder)


class Lessons:
    def __init__(self, unet: UNet2DConditionModel, pool: Pool, empty: Tensor) -> None:
        self._unet, self._pool, self._empty, self._noise = unet.eval(), pool, empty, Noise()

    def loss(self, model: UNetMotionModel) -> Tensor:
        """Of one clip: as many positions as a batch of the denoiser had."""
        seen, time, states, wanted = self._clip(_random_time(), shared=bool(torch.rand(()) < 0.7))
        # A quarter faster on processors that know the format.
        with torch.autocast("cpu", torch.bfloat16):
            told = _of_clip(model, seen, time, states)
        # As a loss of v is, but where hardly any noise is left.
        spread = self._noise.noisy(torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1), time)[0].square().clamp(min=0.1)
        return ((self._picture(seen, told.float(), time) - wanted).square() / spread).mean()

    @torch.no_grad()
    def slid(self, model: UNetMotionModel) -> list[int]:
        """How far each frame is slid from what the denoiser draws, first thing out of nothing but noise."""
        seen, time, states, _ = self._clip(LAST_TIME, shared=True)
        told = self._picture(seen, _of_clip(model, seen, time, states), time)
        plain = self._picture(seen, self._unet(seen, time, states).sample, time)
        ways = range(-6, 7)
        off = [[float((plain[i].roll(way, -1) - told[i]).square().mean()) for way in ways] for i in range(FRAMES)]
        return [ways[int(np.argmin(each))] for each in off]

    @torch.no_grad()
    def _clip(self, at: int, shared: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What the adapter sees of a clip, when, with which text, and the picture that it must tell."""
        latents, states = (each[:1] for each in self._pool.batch(SIZES, 1))
        if torch.rand(()) < EMPTY_CAPTIONS:
            states = self._empty
        noise = torch.randn(1 if shared else FRAMES, *latents.shape[1:])
        time = torch.tensor([at])
        # At the last step pipelines hand over nothing but noise.
        known = latents if at < LAST_TIME else torch.zeros_like(latents)
        picture = self._noisy(known.expand_as(noise), noise, time)
        told = self._unet(picture, time, states.expand(len(noise), -1, -1)).sample
        wanted = slide(self._picture(picture, told, time).expand(FRAMES, -1, -1, -1))
        of_each = noise.expand(FRAMES, -1, -1, -1)
        slid = torch.stack([each.roll(way, -1) for each, way in zip(of_each, SLIDES, strict=True)])
        seen = self._noisy(slide(known.expand_as(of_each)), slid, time)
        return seen, time, states.expand(FRAMES, -1, -1), wanted

    def _noisy(self, latents: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        return noise if time.item() == LAST_TIME else self._noise.noisy(latents, noise, time)[0]

    def _picture(self, seen: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        # signal × seen − spread × v: noise is added by the same formula.
        return self._noise.noisy(seen, -velocity, time)[0]


def slide(frames: Tensor) -> Tensor:
    """Where nothing slides in, the edge goes on."""
    width = frames.shape[-1]
    columns = [(torch.arange(width) - way).clamp(0, width - 1) for way in SLIDES]
    return torch.stack([frame[..., column] for frame, column in zip(frames, columns, strict=True)])


def slid_noise(noise: Tensor) -> Tensor:
    """(1, channels, frames, h, w) of (channels, h, w): what each frame of a clip begins with, so that a figure stays
    itself while it moves. What slides out on one side comes in on the other."""
    return torch.stack([noise.roll(way, -1) for way in SLIDES], 1)[None]


def _random_time() -> int:
    """Most where places are decided, one in five at the very first step."""
    chance = float(torch.rand(()))
    if chance < 0.2:
        return LAST_TIME
    return int(torch.randint(0 if chance < 0.6 else 600, LAST_TIME, ()))


def _of_clip(model: UNetMotionModel, seen: Tensor, time: Tensor, states: Tensor) -> Tensor:
    told: Tensor = model(seen.transpose(0, 1)[None], time, states).sample[0]
    return told.transpose(0, 1)


def save(model: UNetMotionModel, folder: Path) -> None:
    adapter = new_adapter(model)
    adapter.load_state_dict({name: each for name, each in model.state_dict().items() if ".motion_modules." in name})
    adapter.half().save_pretrained(folder)


def gone(seen: list[Seen]) -> NDArray[np.float64]:
    """How much of its way the figure has gone in each frame since the first. Slid pictures end at 1."""
    whole = (SLIDES[-1] - SLIDES[0]) / COLUMNS
    return np.array([each.x - seen[0].x for each in seen]) / whole


def is_steady(gone: NDArray[np.float64]) -> bool:
    """Whether the figure never goes back, nor more than twice as far at once as is right."""
    steps = np.diff(gone)
    return bool(steps.min() > -0.02 and steps.max() < 2 / (len(gone) - 1))
