"""A LoRA: to each matrix of the transformer layers of denoiser and text encoder, a product of two thin ones is added.

In training and in a file of the kohya format, which programs for Stable Diffusion read.
"""

from pathlib import Path

import structlog
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from diffusers.utils import (
    convert_state_dict_to_diffusers,
    convert_state_dict_to_peft,
    convert_unet_state_dict_to_peft,
)
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from transformers import CLIPTextModel

from training.denoiser import Noise, random_times
from training.latents import Encoders
from training.lessons import Lesson, Lessons
from training.loop import Schedule, checkpointed

COUNTS = {256: 800, 512: 600}
RANK = 8
ALPHA = 4.0
STEPS = 1500
LEARNING_RATE = 3e-3
POSITIONS = 4096

log = structlog.get_logger()


class Addition(nn.Module):
    """What is added to a layer's weight, (out, in)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(RANK, inputs) / RANK)
        self.up = nn.Parameter(torch.zeros(outputs, RANK))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + ALPHA / RANK * self.up @ self.down


def add(unet: UNet2DConditionModel, text_encoder: CLIPTextModel) -> nn.ModuleDict:
    """Additions by the kohya names of their layers; both networks compute with them from now on."""
    in_unet = {
        f"lora_unet_{name.replace('.', '_')}": layer
        for name, layer in unet.named_modules()
        if isinstance(layer, nn.Linear) and ".transformer_blocks." in name
    }
    in_text_encoder = {
        f"lora_te_text_model_{name.replace('.', '_')}": layer
        for name, layer in text_encoder.named_modules()
        if isinstance(layer, nn.Linear)
    }
    layers = in_unet | in_text_encoder
    additions = {name: Addition(layer.in_features, layer.out_features) for name, layer in layers.items()}
    for name, layer in layers.items():
        parametrize.register_parametrization(layer, "weight", additions[name])
    return nn.ModuleDict(additions)


def train_lora(unet: UNet2DConditionModel, encoders: Encoders, lessons: Lessons, target: Path, file: Path) -> None:
    unet = unet.requires_grad_(False).to(memory_format=torch.channels_last)
    additions, noise, smooth = add(unet, encoders.text_encoder.requires_grad_(False)), Noise(), 0.0
    optimizer = torch.optim.AdamW(additions.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-3)
    for step in checkpointed(file, {"additions": additions, "optimizer": optimizer}, STEPS):
        Schedule(LEARNING_RATE, STEPS, warm_up=50, hold=0.3).apply(optimizer, step)
        loss = _loss(unet, encoders, noise, lessons.batch(POSITIONS))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(additions.parameters(), 1.0)
        optimizer.step()
        smooth = 0.98 * (smooth or loss.item()) + 0.02 * loss.item()
        if step % 50 == 0:
            log.info("lora", step=step, loss=round(smooth, 4))
    save(additions, target)


def _loss(unet: UNet2DConditionModel, encoders: Encoders, noise: Noise, lesson: Lesson) -> Tensor:
    states, times = encoders.learning_states(lesson.texts), random_times(len(lesson.texts))
    seen, velocity = noise.noisy(lesson.latents, torch.randn_like(lesson.latents), times)
    return functional.mse_loss(unet(seen, times, states).sample, velocity)


def save(additions: nn.ModuleDict, target: Path) -> None:
    weights = {}
    for name, each in additions.items():
        weights[f"{name}.lora_down.weight"] = each.down.detach().half().contiguous()
        weights[f"{name}.lora_up.weight"] = each.up.detach().half().contiguous()
        weights[f"{name}.alpha"] = torch.tensor(ALPHA).half()
    told = {
        "ss_network_module": "networks.lora",
        "ss_network_dim": str(RANK),
        "ss_network_alpha": str(ALPHA),
        "ss_output_name": target.stem,
        "ss_v2": "False",
        "ss_steps": str(STEPS),
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, target, metadata=told)


@torch.no_grad()
def apply(pipeline: StableDiffusionPipeline, file: Path, weight: float) -> None:
    """Adds a file to the pipeline's own weights. diffusers reads the names, so that they are what it takes them for."""
    told, alphas = pipeline.lora_state_dict(str(file))
    (alpha,) = set(alphas.values())
    _add_all(pipeline.unet, convert_unet_state_dict_to_peft(_of("unet.", told)), weight * alpha)
    # diffusers, too, passes over the "text_model" that newer text encoders do without.
    text = convert_state_dict_to_peft(convert_state_dict_to_diffusers(_of("text_encoder.", told)))
    _add_all(pipeline.text_encoder, _of("text_model.", text), weight * alpha)


def _of(prefix: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): each for name, each in weights.items() if name.startswith(prefix)}


def _add_all(model: nn.Module, weights: dict[str, Tensor], strength: float) -> None:
    for layer in [name.removesuffix(".lora_A.weight") for name in weights if name.endswith(".lora_A.weight")]:
        down, up = weights[f"{layer}.lora_A.weight"].float(), weights[f"{layer}.lora_B.weight"].float()
        model.get_submodule(layer).weight += strength / len(down) * up @ down
