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


def pipeline() -> StableDiffusionPipeline:
    return StableDiffusionPipeline.from_pretrained(MODEL, safety_checker=None, torch_dtype=torch.float32)


def random_lora(file: Path, std: float) -> StableDiffusionPipeline:
    """Writes one, and returns the model that computes with it."""
    trained = pipeline()
    additions = lora.add(trained.unet, trained.text_encoder)
    for each in additions.values():
        nn.init.normal_(each.up, std=std)
    lora.save(additions, file)
    return trained


def words_seen(pipeline: StableDiffusionPipeline) -> Tensor:
    states = pipeline.encode_prompt("a red circle", torch.device("cpu"), 1, False)[0]
    return pipeline.unet(seen(1)[0], 500, states).sample


def unet() -> UNet2DConditionModel:
    return UNet2DConditionModel.from_pretrained(MODEL / "unet", torch_dtype=torch.float32).eval()


def seen(latents: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn(latents, 8, 8, 8, generator=generator)
    return noise, torch.tensor([500] * latents), torch.randn(latents, 77, 128, generator=generator)


@torch.no_grad()
def test_a_lora_from_its_file_is_the_lora_that_was_trained(tmp_path: Path) -> None:
    trained = random_lora(tmp_path / "some.safetensors", 0.02)
    plain, read = pipeline(), pipeline()

    lora.apply(read, tmp_path / "some.safetensors", 1.0)

    assert torch.allclose(words_seen(trained), words_seen(read), atol=5e-3)
    assert not torch.allclose(words_seen(trained), words_seen(plain), atol=5e-2)


@pytest.mark.parametrize("weight", [0.5, 2.0])
@torch.no_grad()
def test_the_weight_of_a_lora_scales_what_it_adds(tmp_path: Path, weight: float) -> None:
    random_lora(tmp_path / "some.safetensors", 0.1)
    plain, first, second = pipeline(), pipeline(), pipeline()

    lora.apply(first, tmp_path / "some.safetensors", 1.0)
    lora.apply(second, tmp_path / "some.safetensors", weight)

    for part, name in (
        ("unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_q"),
        ("text_encoder", "encoder.layers.1.mlp.fc2"),
    ):
        before, once, scaled = (getattr(each, part).get_submodule(name).weight for each in (plain, first, second))
        assert (once - before).abs().max() > 0
        assert torch.allclose(scaled - before, weight * (once - before), atol=1e-6)


def test_a_lora_file_has_the_names_of_the_kohya_format(tmp_path: Path) -> None:
    random_lora(tmp_path / "some.safetensors", 0.1)

    weights = load_file(tmp_path / "some.safetensors")

    unet = "lora_unet_up_blocks_0_attentions_1_transformer_blocks_0_attn1_to_out_0"
    for name in (unet, "lora_te_text_model_encoder_layers_2_self_attn_q_proj"):
        assert weights[f"{name}.lora_down.weight"].shape == (lora.RANK, 128)
        assert weights[f"{name}.lora_up.weight"].shape == (128, lora.RANK)
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

    stock = pipeline()
    stock.load_textual_inversion(tmp_path / "some.safetensors")
    read = [
        stock.encode_prompt(text, torch.device("cpu"), 1, False)[0][0]
        for text in (f"a circle, {embedding.TOKEN}", "a circle")
    ]

    assert torch.allclose(trained, torch.stack(read), atol=1e-4)
    assert not torch.allclose(trained[0], trained[1], atol=0.1)
