"""A small model of random weights, of a shape that no published family has: 16× latents of 8 channels, v-prediction.

It draws no subject, only seeded structure and colour; it is not trained.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel

from benchmarks.small_networks import WINDOW, byte_tokenizer

LATENT_CHANNELS = 8
TEXT_WIDTH = 128
_SEED = 20260101

# Found by trial. Fresh layers barely hear the prompt; this makes another prompt another picture.
_UNET_GAIN = 4.0
# Mean and contrast per channel of what the fresh decoder makes of latents: dark, and nearly one colour.
_FRESH_MEAN = (-0.42, -0.15, -0.07)
_CONTRAST_GAIN = (1.5, 4.0, 4.0)


def build(folder: Path) -> None:
    """The weights depend on nothing but this file and the versions of torch, diffusers and transformers."""
    _pipeline().save_pretrained(folder, safe_serialization=True)


def _pipeline() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return StableDiffusionPipeline(  # type: ignore[no-untyped-call]
            vae=_vae(),
            text_encoder=_text_encoder(),
            tokenizer=byte_tokenizer(),
            unet=_unet(),
            scheduler=_scheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )


def _vae() -> Any:
    """16 pixels to a latent, of 8 channels."""
    widths = (8, 16, 32, 64, 64)
    vae: Any = AutoencoderKL(  # type: ignore[no-untyped-call]
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=1,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    _spread_colours(vae.decoder.conv_out)
    return vae


def _spread_colours(layer: Any) -> None:
    gain = torch.tensor(_CONTRAST_GAIN)
    with torch.no_grad():
        layer.weight.mul_(gain.view(3, 1, 1, 1))
        layer.bias.copy_(-gain * torch.tensor(_FRESH_MEAN))


def _unet() -> Any:
    unet: Any = UNet2DConditionModel(  # type: ignore[no-untyped-call]
        sample_size=32,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        layers_per_block=1,
        cross_attention_dim=TEXT_WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    )
    with torch.no_grad():
        for parameter in unet.conv_out.parameters():
            parameter.mul_(_UNET_GAIN)
    return unet


def _text_encoder() -> Any:
    tokenizer = byte_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=4 * TEXT_WIDTH,
        num_hidden_layers=3,
        num_attention_heads=4,
        max_position_embeddings=WINDOW,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _scheduler() -> Any:
    return DPMSolverMultistepScheduler(  # type: ignore[no-untyped-call]
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        steps_offset=1,
        prediction_type="v_prediction",
        use_karras_sigmas=True,
    )
