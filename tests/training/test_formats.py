"""What a companion's training sees is what its file says to those who read it."""

from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from training import embedding, lora
from training.guide import new_guide
from training.latents import Encoders

MODEL = Path("models/darkroom-shapes")


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(MODEL / "unet", torch_dtype=torch.float32).eval()


def seen(latents: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(latents, 8, 8, 8, generator=generator)
    return noise, torch.tensor([500] * latents), torch.randn(latents, 77, 128, generator=generator)


@torch.no_grad()
def test_a_lora_from_its_file_is_the_lora_that_was_trained(tmp_path: Path) -> None:
    trained, plain, read = unet(), unet(), unet()
    additions = lora.add(trained)
    for each in additions.values():
        nn.init.normal_(each.up, std=0.02)
    lora.save(additions, tmp_path / "some.safetensors")

    lora.apply(read, tmp_path / "some.safetensors", 1.0)

    told = [each(*seen()).sample for each in (trained, read, plain)]
    assert torch.allclose(told[0], told[1], atol=2e-3)
    assert not torch.allclose(told[0], told[2], atol=2e-2)


@pytest.mark.parametrize("weight", [0.5, 2.0])
@torch.no_grad()
def test_the_weight_of_a_lora_scales_what_it_adds(tmp_path: Path, weight: float) -> None:
    name, first, second = "mid_block.attentions.0.transformer_blocks.0.attn2.to_q", unet(), unet()
    before = first.get_submodule(name).weight.clone()
    additions = lora.add(unet())
    for each in additions.values():
        nn.init.normal_(each.up, std=0.1)
    lora.save(additions, tmp_path / "some.safetensors")

    lora.apply(first, tmp_path / "some.safetensors", 1.0)
    lora.apply(second, tmp_path / "some.safetensors", weight)

    added = first.get_submodule(name).weight - before
    assert added.abs().max() > 0
    assert torch.allclose(second.get_submodule(name).weight - before, weight * added, atol=1e-6)


def test_a_lora_file_has_the_names_of_the_kohya_format(tmp_path: Path) -> None:
    lora.save(lora.add(unet()), tmp_path / "some.safetensors")

    weights = load_file(tmp_path / "some.safetensors")

    name = "lora_unet_up_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0"
    assert {f"{name}.{part}" for part in ("lora_down.weight", "lora_up.weight", "alpha")} < weights.keys()
    assert weights[f"{name}.lora_down.weight"].shape == (lora.RANK, 128)
    assert weights[f"{name}.alpha"].item() == lora.ALPHA
    assert all(weight.dtype == torch.float16 for weight in weights.values())


@torch.no_grad()
def test_an_untrained_guide_changes_nothing_and_hears_the_text_as_the_denoiser_does() -> None:
    denoiser = unet()
    guide = new_guide(denoiser).eval()
    latents, times, states = seen()

    down, middle = guide(latents, times, states, controlnet_cond=torch.ones(2, 3, 128, 128), return_dict=False)

    assert all(not each.any() for each in (*down, middle))
    assert torch.equal(guide.add_embedding(states), denoiser.add_embedding(states))


@torch.no_grad()
def test_an_embedding_from_its_file_is_the_one_that_was_trained(tmp_path: Path) -> None:
    encoders = Encoders(MODEL / "tokenizer", MODEL / "text_encoder", MODEL / "vae")
    vectors = embedding.add(encoders)
    nn.init.normal_(vectors.rows)
    trained = embedding.states(encoders, [f"a circle, {embedding.TOKEN}", "a circle"])
    save_file({embedding.TOKEN: vectors.rows.data}, tmp_path / "some.safetensors")

    pipeline = StableDiffusionPipeline.from_pretrained(MODEL, safety_checker=None, torch_dtype=torch.float32)
    pipeline.load_textual_inversion(tmp_path / "some.safetensors")
    read = [
        pipeline.encode_prompt(text, torch.device("cpu"), 1, False)[0][0]
        for text in (f"a circle, {embedding.TOKEN}", "a circle")
    ]

    assert torch.allclose(trained, torch.stack(read), atol=1e-4)
    assert not torch.allclose(trained[0], trained[1], atol=0.1)
