"""The autoencoder: 16 pixels to one latent of 8 channels, which makes a step on two cores a matter of milliseconds.

First encoder and decoder learn together. Then the latents are brought to mean 0 and deviation 1, channel by channel,
inside the two 1×1 convolutions around them, so that `scaling_factor` is 1 and any pipeline fits. Last, the decoder
alone learns on, also from latents with a little noise, which is what a denoiser hands it.
"""

import random
from pathlib import Path

import numpy as np
import structlog
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn import functional

from training.drawing import draw
from training.loop import Schedule, checkpointed
from training.scenes import random_scene

CHANNELS = 8
LEARNING_RATE = 2e-3
KL_WEIGHT = 1e-3
# Side and pictures of a batch, from a share of the steps on: small crops teach colour fast, large ones edges.
STAGES = ((0.0, 32, 48), (0.15, 64, 20), (0.5, 128, 6), (0.9, 256, 2))
SECOND_STAGES = ((0.0, 128, 6), (0.35, 256, 2))
DECODER_STAGES = ((0.0, 128, 6), (0.3, 256, 2))
LATENT_NOISE = 0.05
AVERAGE_AFTER = 0.75
AVERAGE_STEP = 0.03

log = structlog.get_logger()


def new_autoencoder() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 16, 32, 64, 64),
        down_block_types=("DownEncoderBlock2D",) * 5,
        up_block_types=("UpDecoderBlock2D",) * 5,
        layers_per_block=1,
        latent_channels=CHANNELS,
        norm_num_groups=1,
        mid_block_add_attention=False,
        sample_size=512,
        scaling_factor=1.0,
    ).to(memory_format=torch.channels_last)


def train_autoencoder(folder: Path, work: Path, steps: int) -> None:
    """Two passes of `steps` each: what small crops taught is mended on larger ones, where figures are whole."""
    model = new_autoencoder()
    parameters = list(model.parameters())
    _train(model, parameters, work / "autoencoder.pt", steps, STAGES, LEARNING_RATE)
    _train(model, parameters, work / "autoencoder_2.pt", steps, SECOND_STAGES, 0.6 * LEARNING_RATE)
    normalise(model)
    model.save_pretrained(folder)


def train_decoder(source: Path, folder: Path, work: Path, steps: int) -> None:
    """The latents stay what they are: a denoiser trained on them stays right."""
    model = AutoencoderKL.from_pretrained(source).to(memory_format=torch.channels_last)
    model.requires_grad_(False)
    parameters = [*model.decoder.parameters(), *model.post_quant_conv.parameters()]
    for each in parameters:
        each.requires_grad_(True)
    _train(model, parameters, work / "decoder.pt", steps, DECODER_STAGES, 0.4 * LEARNING_RATE)
    model.save_pretrained(folder)


def _train(
    model: AutoencoderKL,
    parameters: list[nn.Parameter],
    file: Path,
    steps: int,
    stages: tuple[tuple[float, int, int], ...],
    rate: float,
) -> None:
    average = torch.optim.swa_utils.AveragedModel(
        model, avg_fn=lambda old, new, _: torch.lerp(old, new.to(old.dtype), AVERAGE_STEP)
    )
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=1e-3)
    decoder_only = not model.encoder.conv_in.weight.requires_grad
    state = {"model": model, "average": average, "optimizer": optimizer}
    for step in checkpointed(file, state, steps):
        Schedule(rate, steps, warm_up=50).apply(optimizer, step)
        side, count = next((s, n) for after, s, n in reversed(stages) if step >= after * steps)
        pictures = _batch(random.Random(step), side, count)
        loss, distance = _loss(model, pictures, LATENT_NOISE if decoder_only else 0.0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        if step >= AVERAGE_AFTER * steps:
            average.update_parameters(model)
        if step % 200 == 0:
            log.info("autoencoder", step=step, side=side, l1=round(distance, 4))
    model.load_state_dict(average.module.state_dict())
    model.eval()
    log.info("autoencoder", psnr_256=psnr(model, 256), psnr_512=psnr(model, 512))


def _batch(rng: random.Random, side: int, count: int) -> Tensor:
    """Whole small pictures, and crops of larger ones where something is to be seen."""
    return to_tensor([_whole_or_crop(rng, side) for _ in range(count)])


def _whole_or_crop(rng: random.Random, side: int) -> np.ndarray:
    scene = random_scene(rng)
    if rng.random() < 0.6:
        return draw(scene, rng, side, side)
    factor = 2 if side > 128 else rng.choice((2, 4))
    picture = draw(scene, rng, factor * side, factor * side)
    for _ in range(4):
        y, x = rng.randint(0, (factor - 1) * side), rng.randint(0, (factor - 1) * side)
        crop = picture[y : y + side, x : x + side]
        if crop.std((0, 1)).max() > 4:
            break
    return crop


def to_tensor(pictures: list[np.ndarray]) -> Tensor:
    """(n, 3, height, width), −1 to 1."""
    stacked = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return stacked.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)


def _loss(model: AutoencoderKL, pictures: Tensor, noise: float) -> tuple[Tensor, float]:
    posterior = model.encode(pictures).latent_dist
    latents = posterior.sample()
    seen = model.decode(latents + noise * torch.randn_like(latents)).sample
    distance = functional.l1_loss(seen, pictures)
    edges = functional.l1_loss(seen.diff(dim=-1), pictures.diff(dim=-1))
    edges = edges + functional.l1_loss(seen.diff(dim=-2), pictures.diff(dim=-2))
    spread = 0.0 if noise else KL_WEIGHT * posterior.kl().mean() / latents[0].numel()
    return distance + functional.mse_loss(seen, pictures) + 0.5 * edges + spread, distance.item()


@torch.inference_mode()
def normalise(model: AutoencoderKL) -> None:
    """Folds each channel's mean and deviation over the data into the two 1×1 convolutions."""
    rng = random.Random(4)
    means = [model.encode(_scenes(rng, 256, 8)).latent_dist.mean for _ in range(16)]
    latents = torch.cat(means).transpose(0, 1).flatten(1)
    centre, spread = latents.mean(1), latents.std(1)
    into, out = model.quant_conv, model.post_quant_conv
    into.weight[:CHANNELS] /= spread[:, None, None, None]
    into.bias[:CHANNELS] = (into.bias[:CHANNELS] - centre) / spread
    into.bias[CHANNELS:] -= 2 * spread.log()
    out.bias += (out.weight[:, :, 0, 0] * centre).sum(1)
    out.weight *= spread[None, :, None, None]


@torch.inference_mode()
def psnr(model: AutoencoderKL, side: int) -> float:
    pictures = _scenes(random.Random(77), side, 8)
    seen = model.decode(model.encode(pictures).latent_dist.mean).sample.clamp(-1, 1)
    return round(-10 * float(torch.log10(functional.mse_loss(seen, pictures) / 4)), 2)


def _scenes(rng: random.Random, side: int, count: int) -> Tensor:
    return to_tensor([draw(random_scene(rng), rng, side, side) for _ in range(count)])
