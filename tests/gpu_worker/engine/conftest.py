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
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from benchmarks.flow_models import build_flow
from benchmarks.small_networks import byte_tokenizer, small_vae, text_config, wild
from gpu_worker.engine.checkpoint import Checkpoint
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from jobs.catalog import Catalog, Family, Model
from jobs.prompt import Piece, Prompt
from tests.gpu_worker.engine import tiny_model

SD15_WIDTHS = (16, 32, 32, 32)
_BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


PROMPT: Prompt = (Piece("a red cat"), Piece("on a roof"))
NEGATIVE: Prompt = (Piece("blue, ugly"),)
FAMILIES = {"tiny": Family.SD15, "sd15": Family.SD15, "sdxl": Family.SDXL}


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
        vae=small_vae(scaling_factor=0.18215),
        text_encoder=wild(CLIPTextModel(text_config(width=32, act="quick_gelu")), bias=0.3),
        tokenizer=byte_tokenizer(),
        unet=wild(
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
        vae=small_vae(scaling_factor=0.13025),
        text_encoder=CLIPTextModel(text_config(width=32, act="quick_gelu")),
        text_encoder_2=CLIPTextModelWithProjection(text_config(width=32, act="gelu", projection=32)),
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        unet=wild(
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
