"""Small models of SD 3's and FLUX's kind, and ControlNets for them, of random weights. It draws nothing."""

from pathlib import Path
from typing import Any

import diffusers
import torch
from torch import nn
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.small_networks import byte_tokenizer, small_t5, small_vae, text_config, wild, word_tokenizer
from jobs.catalog import Family, Kind, Model

untyped: Any = diffusers

SD3: dict[str, Any] = {
    "sample_size": 16,
    "in_channels": 16,
    "out_channels": 16,
    "attention_head_dim": 8,
    "num_attention_heads": 4,
    "caption_projection_dim": 32,
    "joint_attention_dim": 80,
    "pooled_projection_dim": 64,
    "pos_embed_max_size": 24,
    "qk_norm": "rms_norm",
}
FLUX: dict[str, Any] = {
    "patch_size": 1,
    "in_channels": 64,
    "attention_head_dim": 16,
    "num_attention_heads": 2,
    "joint_attention_dim": 32,
    "pooled_projection_dim": 32,
    "axes_dims_rope": [4, 4, 8],
}


def build_flow(root: Path) -> dict[str, Path]:
    """Of the families that go a straight way from noise to picture."""
    _build_sd3(root / "sd3", has_t5=True)
    _build_sd3(root / "sd3-short", has_t5=False)
    _build_flux(root / "flux-dev", is_distilled=True)
    _build_flux(root / "flux-schnell", is_distilled=False)
    return {path.name: path for path in root.iterdir()}


def _build_sd3(folder: Path, *, has_t5: bool) -> None:
    """2 × 2 latents to a token, 16 channels, a VAE whose latents are moved; and T5, or nothing in its place."""
    torch.manual_seed(3)
    pipeline = untyped.StableDiffusion3Pipeline(
        transformer=wild(
            untyped.SD3Transformer2DModel(
                **SD3,
                patch_size=2,
                num_layers=2,
                dual_attention_layers=(0,),
            )
        ),
        scheduler=untyped.FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_flow_vae(),
        text_encoder=CLIPTextModelWithProjection(text_config(width=32, act="quick_gelu", projection=32)),
        tokenizer=byte_tokenizer(),
        text_encoder_2=CLIPTextModelWithProjection(text_config(width=32, act="gelu", projection=32)),
        tokenizer_2=byte_tokenizer(),
        text_encoder_3=small_t5(width=80) if has_t5 else None,
        tokenizer_3=word_tokenizer() if has_t5 else None,
    )
    pipeline.save_pretrained(folder)


def _build_flux(folder: Path, *, is_distilled: bool) -> None:
    """As the one that is told its guidance, and moves the noise with the size; or as the one for few steps."""
    torch.manual_seed(4)
    pipeline = untyped.FluxPipeline(
        transformer=wild(
            untyped.FluxTransformer2DModel(
                **FLUX | {"axes_dims_rope": (4, 4, 8)},
                num_layers=1,
                num_single_layers=1,
                guidance_embeds=is_distilled,
            )
        ),
        scheduler=untyped.FlowMatchEulerDiscreteScheduler(
            shift=3.0 if is_distilled else 1.0, use_dynamic_shifting=is_distilled
        ),
        vae=_flow_vae(),
        text_encoder=CLIPTextModel(text_config(width=32, act="quick_gelu")),
        tokenizer=byte_tokenizer(),
        text_encoder_2=small_t5(width=32),
        tokenizer_2=word_tokenizer(),
    )
    pipeline.save_pretrained(folder)


def _flow_vae() -> Any:
    return small_vae(
        scaling_factor=1.5305, shift_factor=0.0609, latent_channels=16, use_quant_conv=False, use_post_quant_conv=False
    )


def build_bases(root: Path, folders: dict[str, Path]) -> dict[str, Path]:
    """The tiny models, but of more blocks than most ControlNets have."""
    torch.manual_seed(8)
    sd3 = untyped.StableDiffusion3Pipeline.from_pretrained(folders["sd3"])
    sd3.transformer = wild(untyped.SD3Transformer2DModel(**SD3, num_layers=4, patch_size=2, dual_attention_layers=(0,)))
    sd3.save_pretrained(root / "sd3")
    for name in ("flux-dev", "flux-schnell"):
        flux = untyped.FluxPipeline.from_pretrained(folders[name])
        blocks = {"num_layers": 3, "num_single_layers": 4, "guidance_embeds": name == "flux-dev"}
        flux.transformer = wild(untyped.FluxTransformer2DModel(**FLUX | {"axes_dims_rope": (4, 4, 8)}, **blocks))
        flux.save_pretrained(root / name)
    return {path.name: path for path in root.iterdir()}


def networks() -> dict[str, Any]:
    """Of SD 3: one as most, one that wants the picture moved and the pooled text, and one as the published largest. Of
    FLUX: of fewer and of as many blocks as the denoiser, for several kinds of pictures, told of guidance, and one that
    looks at the picture itself."""
    plain: dict[str, Any] = FLUX | {"num_layers": 1, "num_single_layers": 1}
    made = {
        "sd3-one": untyped.SD3ControlNetModel(**SD3, num_layers=1),
        "sd3-moved": untyped.SD3ControlNetModel(**SD3, num_layers=2, force_zeros_for_pooled_projection=False),
        "sd3-large": untyped.SD3ControlNetModel(
            **SD3 | {"joint_attention_dim": None},
            num_layers=2,
            use_pos_embed=False,
            pos_embed_type=None,
            force_zeros_for_pooled_projection=False,
        ),
        "sd3-inpainting": untyped.SD3ControlNetModel(**SD3, num_layers=1, extra_conditioning_channels=1),
        "flux-one": untyped.FluxControlNetModel(**plain),
        "flux-two": untyped.FluxControlNetModel(**FLUX, num_layers=2, num_single_layers=3),
        "flux-doubles": untyped.FluxControlNetModel(**FLUX, num_layers=1, num_single_layers=0),
        "flux-union": untyped.FluxControlNetModel(**plain, num_mode=7),
        "flux-told": untyped.FluxControlNetModel(**plain, guidance_embeds=True),
        "flux-pixels": untyped.FluxControlNetModel(
            **FLUX | {"patch_size": 2}, num_layers=2, num_single_layers=0, conditioning_embedding_channels=16
        ),
        "flux-wide": untyped.FluxControlNetModel(**plain | {"num_attention_heads": 4}),
        "sd15-one": untyped.ControlNetModel(
            block_out_channels=(16, 32, 32, 32), cross_attention_dim=32, norm_num_groups=8, attention_head_dim=2
        ),
    }
    made["flux-union"].controlnet_mode_embedder.weight.data *= 30
    return {name: _speaking(network, seed) for seed, (name, network) in enumerate(made.items())}


def _speaking(network: Any, seed: int) -> Any:
    """Fresh ones say 0."""
    torch.manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=0.5 / layer.weight[0].numel() ** 0.5)
    return wild(network).eval()


def saved(root: Path, bases: dict[str, Path], nets: dict[str, Any]) -> list[Model]:
    """The models and their ControlNets, as a catalogue has them."""
    models = [Model(id=id, name=id, family=family_of(id), path=path) for id, path in bases.items()]
    for name, network in nets.items():
        network.save_pretrained(root / name)
        models.append(Model(id=name, name=name, kind=Kind.CONTROLNET, family=family_of(name), path=root / name))
    return models


def family_of(name: str) -> Family:
    return Family(name.partition("-")[0].upper())
