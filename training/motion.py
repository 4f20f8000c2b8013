"""The motion adapter: a figure that stands at a side or in a corner glides across to the other side or corner; in the
middle a small one grows and a large one shrinks.

AnimateDiff's adapter reads no text, and the frozen text encoder passes over words that it does not know. But it knows
places and sizes, and what it says of them reaches the adapter through the denoiser: so they say which way.
"""

import copy
import os
import random
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from gpu_worker.engine.motion import animated
from training.autoencoder import to_tensor
from training.captions import caption
from training.denoiser import Noise, follow, random_times
from training.drawing import OFFSETS, STILL, Pose, draw
from training.judge import Seen
from training.latents import Encoders
from training.loop import Schedule, checkpointed
from training.scenes import CENTER, Scene, random_scene

FRAMES = 8
# The sizes that the denoiser's last pass saw: smaller pictures it has forgotten.
SIDE = 512
CLIPS = 300
STEPS = 2000
LEARNING_RATE = 1e-3
# How much each frame looks at itself before anything is learned.
SHARPNESS = 2.0
EMPTY_CAPTIONS = 0.1
AVERAGE = 0.995
# What a small figure becomes in the end is as large as a large one is at first.
GROWTH = 1.75

log = structlog.get_logger()


def is_still(scene: Scene) -> bool:
    """Groups and pairs are."""
    return scene.count > 1 or scene.side is not None


def pose(scene: Scene, done: float) -> Pose:
    """After a share `done` of the clip."""
    if is_still(scene):
        return STILL
    if scene.place == CENTER:
        return Pose(growth=GROWTH ** (done if scene.size == 0 else -done))
    way = 2 * OFFSETS[scene.size] * done
    return Pose(right=way * (1 - scene.place % 3), down=way * (1 - scene.place // 3))


def draw_clip(scene: Scene, rng: random.Random, side: int) -> list[NDArray[np.uint8]]:
    """One seed for all frames: whatever is drawn by chance stays."""
    seed = rng.random()
    return [
        draw(scene, random.Random(seed), side, side, pose(scene, i / (FRAMES - 1))) for i in range(FRAMES)
    ]  # fmt: skip


def backwards(scene: Scene) -> Scene:
    """What is seen when the clip runs backwards."""
    if is_still(scene):
        return scene
    return replace(scene, size=1 - scene.size) if scene.place == CENTER else replace(scene, place=8 - scene.place)


@dataclass(frozen=True, slots=True)
class Clips:
    """`latents` is (n, 8, frames, h, w) in float16; `texts` are captions of each as it is, and of it backwards."""

    latents: Tensor
    texts: list[tuple[str, str]]

    def any(self) -> tuple[Tensor, str]:
        chosen, is_backwards = int(torch.randint(len(self.texts), ())), int(torch.randint(2, ()))
        latents = self.latents[chosen].float()
        return latents.flip(1) if is_backwards else latents, self.texts[chosen][is_backwards]


def make_clips(file: Path, encoders: Encoders) -> Clips:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        rng = random.Random(file.stem)
        made = [_clip(encoders, rng) for _ in range(CLIPS)]
        latents, texts = torch.stack([each for each, _ in made]), [each for _, each in made]
        torch.save({"latents": latents, "texts": texts}, file.with_suffix(".half"))
        os.replace(file.with_suffix(".half"), file)
    return Clips(**torch.load(file, weights_only=True))


def _clip(encoders: Encoders, rng: random.Random) -> tuple[Tensor, tuple[str, str]]:
    scene = random_scene(rng)
    frames = to_tensor(draw_clip(scene, rng, SIDE))
    texts = caption(scene, rng).text, caption(backwards(scene), rng).text
    return encoders.latents(frames).half().transpose(0, 1), texts


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


def train_motion(unet: UNet2DConditionModel, encoders: Encoders, clips: Clips, folder: Path, file: Path) -> None:
    model = animated(unet, new_adapter(unet)).to(memory_format=torch.channels_last).train()
    model.freeze_unet2d_params()
    learning = [weight for weight in model.parameters() if weight.requires_grad]
    noise, average, smooth = Noise(), copy.deepcopy(model), 0.0
    optimizer = torch.optim.AdamW(learning, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    for step in checkpointed(file, {"model": model, "average": average, "optimizer": optimizer}, STEPS):
        Schedule(LEARNING_RATE, STEPS, hold=0.4).apply(optimizer, step)
        loss = _loss(model, encoders, noise, clips)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        follow(average, model, min(AVERAGE, (1 + step) / (10 + step)))
        smooth = 0.98 * (smooth or loss.item()) + 0.02 * loss.item()
        if step % 100 == 0:
            log.info("motion", step=step, loss=round(smooth, 4))
    save(average, folder)


def _loss(model: UNetMotionModel, encoders: Encoders, noise: Noise, clips: Clips) -> Tensor:
    """Of one clip: as many positions as a batch of the denoiser had."""
    latents, text = clips.any()
    heard = text if torch.rand(()) > EMPTY_CAPTIONS else ""
    states, time = encoders.states([heard]).clone().repeat(FRAMES, 1, 1), random_times(1)
    seen, velocity = noise.noisy(latents, torch.randn_like(latents), time)
    # A quarter faster on processors that know the format.
    with torch.autocast("cpu", torch.bfloat16):
        told = model(seen[None], time, states).sample[0]
    return functional.mse_loss(told.float(), velocity)


def save(model: UNetMotionModel, folder: Path) -> None:
    adapter = new_adapter(model)
    adapter.load_state_dict({name: each for name, each in model.state_dict().items() if ".motion_modules." in name})
    adapter.half().save_pretrained(folder)


def progress(scene: Scene, seen: list[Seen]) -> NDArray[np.float64]:
    """How much of its way the figure has gone in each frame since the first. Drawings end at about 1."""
    if scene.place == CENTER:
        grown = np.log([max(each.radius, 1e-3) for each in seen]) / np.log(pose(scene, 1).growth)
        return np.asarray(grown - grown[0])
    end = pose(scene, 1)
    gone = np.array([(each.x - seen[0].x, each.y - seen[0].y) for each in seen])
    return np.asarray(gone @ (end.right, end.down) / (end.right**2 + end.down**2))


def is_steady(gone: NDArray[np.float64]) -> bool:
    """Whether the figure never goes back, nor more than twice as far at once as is right."""
    steps = np.diff(gone)
    return bool(steps.min() > -0.02 and steps.max() < 2 / (len(gone) - 1))
