"""The upscaler: ESRGAN's network, small, that makes four pixels of one.

It learns from drawings and their quarter, reduced by one filter or another and worn a little, and from what the
autoencoder makes of a quarter: so it also mends a little of the softness of the model's own pictures. The loss is the
distance of pixels, squared and not, and late in training that of edges too; no adversary, for there is no texture to
invent.
"""

import copy
import math
import random
from pathlib import Path

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from gpu_worker.engine.upscaler import Layout, RRDBNet
from training.loop import Schedule, checkpointed
from training.reconstructions import Drawing, Reconstructions
from training.scenes import random_scene
from training.wear import FILTERS, worn

LAYOUT = Layout(features=32, growth=16, blocks=3, doublings=2)
LEARNING_RATE = 2e-3
SIDES = (48, 64, 96, 128)
# Of a batch: drawings, a crop of each, and crops of one reconstruction, of so many pixels before they grow.
DRAWINGS, RECONSTRUCTED, CROP_PX = 6, 2, 20
# Where all is flat the absolute distance pulls as hard as at an edge: alone, it keeps the network from learning edges.
SQUARED = 30.0
EDGES, EDGES_AFTER = 0.5, 0.6
AVERAGE = 0.995

log = structlog.get_logger()
Pixels = NDArray[np.uint8]


def new_upscaler() -> RRDBNet:
    """It begins as nearest neighbour: three channels hand the picture on, and the last layer hears no others."""
    network = RRDBNet(LAYOUT)
    for name, convolution in network.named_modules():
        if not isinstance(convolution, nn.Conv2d):
            continue
        weight = nn.init.kaiming_normal_(convolution.weight.data)
        nn.init.zeros_(convolution.bias)
        if name.startswith("body"):
            weight *= 0.1
        elif name == "conv_body":
            weight *= 0.3
            weight[:3] = 0
        else:
            weight[:3] = nn.init.dirac_(torch.empty_like(weight))[:3]
    return network.to(memory_format=torch.channels_last)


def train_upscaler(pool: Path, file: Path, work: Path, steps: int) -> None:
    model, reconstructions = new_upscaler(), Reconstructions(pool)
    average = copy.deepcopy(model).requires_grad_(False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-4)
    schedule = Schedule(LEARNING_RATE, steps, hold=0.3)
    smooth = 0.0
    state = {"model": model, "average": average, "optimizer": optimizer}
    for step in checkpointed(work / "upscaler.pt", state, steps):
        schedule.apply(optimizer, step)
        low, high = _batch(random.Random(f"upscaler {step}"), reconstructions)
        loss, squared = _loss(model(low), high, edges=EDGES if step >= EDGES_AFTER * steps else 0.0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        keep = min(AVERAGE, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        smooth = 0.99 * smooth + 0.01 * squared if smooth else squared
        if step % 100 == 0:
            log.info("upscaler", step=step, psnr=round(-10 * math.log10(smooth), 2))
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.half().contiguous() for name, tensor in average.state_dict().items()}, file)


def _loss(seen: Tensor, high: Tensor, edges: float) -> tuple[Tensor, float]:
    squared = functional.mse_loss(seen, high)
    loss = functional.l1_loss(seen, high) + SQUARED * squared
    if edges:
        across = functional.l1_loss(seen.diff(dim=-1), high.diff(dim=-1))
        down = functional.l1_loss(seen.diff(dim=-2), high.diff(dim=-2))
        loss = loss + edges * (across + down)
    return loss, squared.item()


def _batch(rng: random.Random, reconstructions: Reconstructions) -> tuple[Tensor, Tensor]:
    """(n, 3, CROP_PX, CROP_PX) and what they shall become, 0 to 1."""
    low, high = _reconstructed(rng, reconstructions)
    crops = [_crop(low, high, rng) for _ in range(RECONSTRUCTED)]
    crops += [_crop(*_reduced(rng), rng) for _ in range(DRAWINGS)]
    lows, highs = zip(*crops, strict=True)
    return to_unit(list(lows)), to_unit(list(highs))


def _reduced(rng: random.Random) -> tuple[Pixels, Pixels]:
    side = rng.choice(SIDES)
    high = Drawing(random_scene(rng), rng.randrange(2**31), side, side).large()
    low = quarter(high, rng.choice(FILTERS))
    if rng.random() < 0.6:
        low = worn(low, rng, blur=0.8, noise=4, quality=60)
    return np.asarray(low), high


def _reconstructed(rng: random.Random, reconstructions: Reconstructions) -> tuple[Pixels, Pixels]:
    drawing, low = reconstructions.any(rng)
    return low, drawing.large()


def quarter(high: Pixels, filter_: Image.Resampling) -> Image.Image:
    size = (high.shape[1] // LAYOUT.scale, high.shape[0] // LAYOUT.scale)
    return Image.fromarray(high).resize(size, filter_)


def _crop(low: Pixels, high: Pixels, rng: random.Random) -> tuple[Pixels, Pixels]:
    """One place in both; rather one where something is to be seen."""
    for _ in range(5):
        y, x = rng.randint(0, low.shape[0] - CROP_PX), rng.randint(0, low.shape[1] - CROP_PX)
        small = low[y : y + CROP_PX, x : x + CROP_PX]
        if small.std((0, 1)).max() > 6:
            break
    y, x, side = LAYOUT.scale * y, LAYOUT.scale * x, LAYOUT.scale * CROP_PX
    return small, high[y : y + side, x : x + side]


def to_unit(pictures: list[Pixels]) -> Tensor:
    """(n, 3, height, width), 0 to 1."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float().div(255).contiguous(memory_format=torch.channels_last)
