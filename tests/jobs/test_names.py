import pytest

from jobs.upscalers import UnknownUpscaler, Upscaler
from jobs.upscalers import canonical as upscaler
from jobs.vaes import PUBLISHED, UnknownVae
from jobs.vaes import canonical as vae


@pytest.mark.parametrize("name", Upscaler)
def test_every_upscaler_answers_to_its_own_name(name: Upscaler) -> None:
    assert upscaler(name.value) is name
    assert upscaler(name.value.lower().replace(" ", "_")) is name


def test_those_that_work_on_latents_are_told_apart() -> None:
    assert [each for each in Upscaler if each.is_latent] == list(Upscaler)[:6]


def test_an_unknown_upscaler_gets_a_hint() -> None:
    with pytest.raises(UnknownUpscaler, match="no upscaler is named '4x-Ultrasharpen'; did you mean 4x-UltraSharp"):
        upscaler("4x-Ultrasharpen")


@pytest.mark.parametrize("name", ["Automatic", "automatic", "None", "NONE", ""])
def test_the_checkpoints_own_vae_has_three_names(name: str) -> None:
    assert vae(name) is None


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_vae_answers_to_its_name(name: str) -> None:
    assert vae(name) == name
    assert vae(name.upper()) == name


@pytest.mark.parametrize(
    ("misspelt", "meant"),
    [
        ("clearvae.safetensor", "ClearVAE.safetensors"),
        ("yozora.vae.pt", "YOZORA.vae.pt"),
        ("paster-waifu-diffusion.vae.pt", "pastel-waifu-diffusion.vae.pt"),
    ],
)
def test_what_a_published_client_misspells_is_known(misspelt: str, meant: str) -> None:
    assert vae(misspelt) == meant


def test_an_unknown_vae_gets_a_hint_that_is_spelled_right() -> None:
    with pytest.raises(UnknownVae, match=r"no VAE is named 'clearvae\.safe'; did you mean ClearVAE\.safetensors\?"):
        vae("clearvae.safe")
