from pathlib import Path

import pytest

from jobs.catalog import Catalog, Family, Kind, Model
from jobs.names import Names, did_you_mean, hint, quoted
from jobs.upscalers import PUBLISHED as NETWORKS
from jobs.upscalers import UnknownUpscaler, Upscaler, is_latent, resolve
from jobs.vaes import PUBLISHED, UnknownVae
from jobs.vaes import canonical as vae

CATALOG = Catalog(
    [
        Model(id="1", name="checkpoint", family=Family.SD15, path=Path("absent")),
        *(
            Model(id=str(20 + i), name=name, kind=Kind.UPSCALER, family=Family.ANY, path=Path("absent"))
            for i, name in enumerate(NETWORKS)
        ),
    ]
)


@pytest.mark.parametrize("name", Upscaler)
def test_every_upscaler_without_a_network_answers_to_its_own_name(name: Upscaler) -> None:
    assert resolve(name.value, CATALOG) == name
    assert resolve(name.value.lower().replace(" ", "_"), CATALOG) == name


@pytest.mark.parametrize("name", NETWORKS)
def test_a_published_network_that_is_in_the_catalogue_answers_to_its_own_name(name: str) -> None:
    assert CATALOG.get(resolve(name.lower().replace(" ", "_"), CATALOG)).name == name


def test_those_that_work_on_latents_are_told_apart() -> None:
    assert [each for each in Upscaler if is_latent(each)] == list(Upscaler)[:6]
    assert not is_latent("20")


def test_an_unknown_upscaler_gets_a_hint() -> None:
    with pytest.raises(UnknownUpscaler, match="no upscaler is named '4x-Ultrasharpen'; did you mean '4x-UltraSharp'"):
        resolve("4x-Ultrasharpen", CATALOG)


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
    with pytest.raises(UnknownVae, match=r"no VAE is named 'clearvae\.safe'; did you mean 'ClearVAE\.safetensors'\?"):
        vae("clearvae.safe")


def test_names_are_told_in_quotes() -> None:
    assert [quoted(names) for names in ([], ["none"], ["none", "a"], ["none", "a", "b"])] == [
        "",
        "'none'",
        "'none' and 'a'",
        "'none', 'a' and 'b'",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("Kanny", "'canny'"),  # spelled alike
        ("shapes canny", "'shapes_canny' or 'canny'"),  # the same to the reader; and a part of it
        ("cann", "'canny' or 'shapes_canny'"),
        ("the-old-one", "'depth'"),  # an alias is never suggested itself
        ("an", ""),  # so short that it is a part of many
        ("", ""),
    ],
)
def test_a_name_is_near_by_its_spelling_or_as_a_part(name: str, meant: str) -> None:
    near = did_you_mean(name, ["canny", "shapes_canny", "depth"], {"the_old_one": "depth"})

    assert near == (f"did you mean {meant}?" if meant else "")


def test_where_none_is_near_all_are_told_and_no_alias() -> None:
    assert hint("zzz", ["canny"], {"edges": "canny"}) == "there is 'canny'"
    assert hint("zzz", ["canny", "depth"]) == "there are 'canny' and 'depth'"


def test_an_alias_stands_for_its_name() -> None:
    names = Names({"canny": 1, "depth": 2}, {"edges": "canny"})

    assert names.find("Edges") == names.find("canny") == 1
    assert names.hint("edgez") == "did you mean 'canny'?"
