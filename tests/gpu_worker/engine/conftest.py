"""Tiny models of random weights, shaped like the real ones, and the engine on them."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# Before diffusers is imported: a test that would ask a model hub shall fail, not wait.
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
)

from gpu_worker.engine.checkpoint import Checkpoint
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.catalog import Catalog, Family, Model
from jobs.prompt import Piece, Prompt
from tests.gpu_worker.engine import tiny_model
from tests.gpu_worker.engine.tiny_model import byte_tokenizer

SD15_WIDTHS = (16, 32, 32, 32)
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


PROMPT: Prompt = (Piece("a red cat"), Piece("on a roof"))
NEGATIVE: Prompt = (Piece("blue, ugly"),)
FAMILIES = {"tiny": Family.SD15, "sd15": Family.SD15, "sdxl": Family.SDXL}
WORDS = ("red", "cat", "roof", "on", "blue", "ugly", "circle", "green", "dog")


@dataclass
class Seen:
    """A watch that remembers."""

    steps: list[tuple[int, int]] = field(default_factory=list)

    def step_done(self, step: int, steps: int, preview: Any) -> None:
        self.steps.append((step, steps))

    def check(self) -> None:
        """Nobody stops it."""


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    tiny_model.build(root / "tiny")
    _build_sd15(root / "sd15")
    _build_sdxl(root / "sdxl")
    return {name: root / name for name in FAMILIES}


@pytest.fixture(scope="session")
def engine(folders: dict[str, Path]) -> DiffusersEngine:
    models = [Model(id=id, name=id.upper(), family=FAMILIES[id], path=path) for id, path in folders.items()]
    return DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


@pytest.fixture(scope="session")
def stock(folders: dict[str, Path]) -> dict[str, Any]:
    """diffusers' own pipelines on the same files."""
    classes = {Family.SD15: StableDiffusionPipeline, Family.SDXL: StableDiffusionXLPipeline}
    pipelines = {name: classes[FAMILIES[name]].from_pretrained(path) for name, path in folders.items()}
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


@pytest.fixture(scope="session")
def flow_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_flow(tmp_path_factory.mktemp("flow"))


def build_flow(root: Path) -> dict[str, Path]:
    """Of the families that go a straight way from noise to picture."""
    _build_sd3(root / "sd3", has_t5=True)
    _build_sd3(root / "sd3-short", has_t5=False)
    _build_flux(root / "flux-dev", is_distilled=True)
    _build_flux(root / "flux-schnell", is_distilled=False)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(scope="session")
def flow_engine(flow_folders: dict[str, Path]) -> DiffusersEngine:
    models = [
        Model(id=id, name=id.upper(), family=Family(id.partition("-")[0].upper()), path=path)
        for id, path in flow_folders.items()
    ]
    return DiffusersEngine(Catalog(models), CPU, max_cached_bytes=2**30)


@pytest.fixture(scope="session")
def draw(engine: DiffusersEngine) -> Any:
    """Latents of a request, with defaults for all that a test does not care about."""

    def draw(checkpoint: Checkpoint, *, clip_skip: int = 1, prompt: Prompt = PROMPT, **wish: Any) -> torch.Tensor:
        conditioning = engine.encode_prompt(checkpoint, prompt=prompt, negative=NEGATIVE, clip_skip=clip_skip)
        defaults = {
            "width": 128,
            "height": 128,
            "seeds": [7],
            "sampler": "Euler",
            "steps": 3,
            "guidance_scale": 5.0,
            "watch": Seen(),
        }
        return engine.sample(checkpoint, conditioning, **(defaults | wish))

    return draw


def _build_sd15(folder: Path) -> None:
    """8 pixels to a latent, 4 channels, Stable Diffusion 1.5's blocks: four levels of two layers."""
    torch.manual_seed(1)
    pipeline = StableDiffusionPipeline(
        vae=_vae(scaling_factor=0.18215),
        text_encoder=_wild(CLIPTextModel(_text_config(width=32, act="quick_gelu")), bias=0.3),
        tokenizer=byte_tokenizer(),
        unet=_wild(
            UNet2DConditionModel(
                sample_size=16,
                block_out_channels=SD15_WIDTHS,
                layers_per_block=2,
                cross_attention_dim=32,
                attention_head_dim=2,
                norm_num_groups=8,
                down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
                up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
            )
        ),
        scheduler=PNDMScheduler(**_BETAS, skip_prk_steps=True, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder)


def _build_sdxl(folder: Path) -> None:
    torch.manual_seed(2)
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(_text_config(width=32, act="quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(width=32, act="gelu", projection=32)),
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        unet=_wild(
            UNet2DConditionModel(
                sample_size=16,
                block_out_channels=(16, 32, 32),
                layers_per_block=2,
                cross_attention_dim=64,
                attention_head_dim=(2, 4, 4),
                norm_num_groups=8,
                use_linear_projection=True,
                transformer_layers_per_block=(1, 1, 2),
                addition_embed_type="text_time",
                addition_time_embed_dim=8,
                projection_class_embeddings_input_dim=6 * 8 + 32,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            )
        ),
        scheduler=EulerDiscreteScheduler(**_BETAS, steps_offset=1, timestep_spacing="leading"),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder)


def _build_sd3(folder: Path, *, has_t5: bool) -> None:
    """2 × 2 latents to a token, 16 channels, a VAE whose latents are moved; and T5, or nothing in its place."""
    torch.manual_seed(3)
    pipeline = StableDiffusion3Pipeline(
        transformer=_wild(
            SD3Transformer2DModel(
                sample_size=16,
                patch_size=2,
                in_channels=16,
                out_channels=16,
                num_layers=2,
                attention_head_dim=8,
                num_attention_heads=4,
                caption_projection_dim=32,
                joint_attention_dim=80,
                pooled_projection_dim=64,
                pos_embed_max_size=24,
                dual_attention_layers=(0,),
                qk_norm="rms_norm",
            )
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_flow_vae(),
        text_encoder=CLIPTextModelWithProjection(_text_config(width=32, act="quick_gelu", projection=32)),
        tokenizer=byte_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(width=32, act="gelu", projection=32)),
        tokenizer_2=byte_tokenizer(),
        text_encoder_3=_t5(width=80) if has_t5 else None,
        tokenizer_3=word_tokenizer() if has_t5 else None,
    )
    pipeline.save_pretrained(folder)


def _build_flux(folder: Path, *, is_distilled: bool) -> None:
    """As the one that is told its guidance, and moves the noise with the size; or as the one for few steps."""
    torch.manual_seed(4)
    pipeline = FluxPipeline(
        transformer=_wild(
            FluxTransformer2DModel(
                patch_size=1,
                in_channels=64,
                num_layers=1,
                num_single_layers=1,
                attention_head_dim=16,
                num_attention_heads=2,
                joint_attention_dim=32,
                pooled_projection_dim=32,
                axes_dims_rope=(4, 4, 8),
                guidance_embeds=is_distilled,
            )
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(
            shift=3.0 if is_distilled else 1.0, use_dynamic_shifting=is_distilled
        ),
        vae=_flow_vae(),
        text_encoder=CLIPTextModel(_text_config(width=32, act="quick_gelu")),
        tokenizer=byte_tokenizer(),
        text_encoder_2=_t5(width=32),
        tokenizer_2=word_tokenizer(),
    )
    pipeline.save_pretrained(folder)


def _flow_vae() -> Any:
    return _vae(
        scaling_factor=1.5305, shift_factor=0.0609, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False
    )


def _t5(width: int) -> Any:
    tokenizer = word_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=width,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return _wild(T5EncoderModel(config))


def word_tokenizer() -> Any:
    """T5's, of a few words and of letters: a word's token depends on whether a space is before it."""
    specials = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -2.0)]
    words = [(f"{space}{word}", -4.0) for word in WORDS for space in ("", "▁")]
    letters = [(letter, -9.0) for letter in "abcdefghijklmnopqrstuvwxyz,.()"]
    return T5Tokenizer(vocab=specials + words + letters, extra_ids=0)


def _vae(scaling_factor: float, latent_channels: int = 4, **options: Any) -> Any:
    vae = AutoencoderKL(
        block_out_channels=(8, 16, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=2,
        latent_channels=latent_channels,
        norm_num_groups=4,
        scaling_factor=scaling_factor,
        **options,
    )
    return _wild(vae)


def _wild(network: Any, bias: float = 0.0) -> Any:
    """Also biases and norms differ from their constants, so that none can be forgotten or swapped unnoticed."""
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter) + bias)
    return network


def _text_config(*, width: int, act: str, projection: int = 32) -> CLIPTextConfig:
    tokenizer = byte_tokenizer()
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=2,
        hidden_act=act,
        projection_dim=projection,
        max_position_embeddings=77,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
