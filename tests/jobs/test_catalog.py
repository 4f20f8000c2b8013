import hashlib
from pathlib import Path

import pytest

from jobs.catalog import Catalog, Family, Kind, Model, UnknownModel
from jobs.errors import DarkroomError


def model(id: str, name: str, *aliases: str, kind: Kind = Kind.CHECKPOINT, access_key: str = "") -> Model:
    return Model(
        id=id,
        name=name,
        aliases=aliases,
        kind=kind,
        family=Family.SD15,
        path=Path("absent"),
        access_key_sha256=hashlib.sha256(access_key.encode()).hexdigest() if access_key else "",
    )


FIRST = model("600423083519508503", "DreamShaper-8", "dream", "DS8")
SECOND = model("681693017352010007", "photon")
LORA = model("7", "photon", kind=Kind.LORA)
PRIVATE = model("8", "classified", access_key="open sesame")
PRIVATE_LORA = model("9", "hidden", kind=Kind.LORA, access_key="open sesame")


@pytest.mark.parametrize(
    "name", ["600423083519508503", "DreamShaper-8", "dream", "DS8", "dreamshaper-8", "DREAM", "ds8"]
)
def test_a_model_is_found_by_id_name_or_alias_in_any_case(name: str) -> None:
    assert Catalog([SECOND, FIRST]).resolve(Kind.CHECKPOINT, name) is FIRST


def test_an_empty_name_is_the_first_model() -> None:
    assert Catalog([SECOND, FIRST]).resolve(Kind.CHECKPOINT, "") is SECOND


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="no CHECKPOINT has the id, name or alias 'photn'; did you mean 'photon'"):
        Catalog([FIRST, SECOND]).resolve(Kind.CHECKPOINT, "photn")


def test_an_unknown_name_near_nothing_names_the_default() -> None:
    with pytest.raises(UnknownModel, match="the default is 'DreamShaper-8'"):
        Catalog([FIRST, SECOND]).resolve(Kind.CHECKPOINT, "zzzzzzzzzzzz")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("photo", "'photon'"),
        ("shaper", "'DreamShaper-8'"),  # as a part, in its own case
        ("DS88", "'DreamShaper-8'"),  # an alias stands for its name
        ("681693017352010000", "'681693017352010007'"),
    ],
)
def test_what_is_near_is_suggested_as_it_is_spelled(name: str, meant: str) -> None:
    with pytest.raises(UnknownModel) as refused:
        Catalog([FIRST, SECOND]).resolve(Kind.CHECKPOINT, name)

    assert refused.value.message.endswith(f"; did you mean {meant}?")


@pytest.mark.parametrize(("models", "hint"), [([LORA], "there is 'photon'"), ([], "the catalogue has none")])
def test_an_unknown_companion_near_nothing_names_those_that_there_are(models: list[Model], hint: str) -> None:
    with pytest.raises(UnknownModel, match=f"no LORA has the id, name or alias 'zzzzzzzz'; {hint}$"):
        Catalog([SECOND, PRIVATE_LORA, *models]).resolve(Kind.LORA, "zzzzzzzz")


@pytest.mark.parametrize(
    ("name", "hint"), [("automtic", r"did you mean 'Automatic'\?"), ("zzzz", "there are 'Automatic' and 'None'")]
)
def test_what_may_be_said_in_place_of_a_vae_is_told_too(name: str, hint: str) -> None:
    with pytest.raises(UnknownModel, match=f"no VAE has the id, name or alias '{name}'; {hint}$"):
        Catalog([SECOND]).resolve(Kind.VAE, name)


def test_names_and_ids_belong_to_their_kind() -> None:
    catalog = Catalog([SECOND, LORA])

    assert catalog.resolve(Kind.CHECKPOINT, "photon") is SECOND
    assert catalog.resolve(Kind.LORA, "photon") is catalog.resolve(Kind.LORA, "7") is LORA
    with pytest.raises(UnknownModel, match="no CHECKPOINT has the id, name or alias '7'"):
        catalog.resolve(Kind.CHECKPOINT, "7")


def test_only_a_checkpoint_may_be_left_unnamed() -> None:
    with pytest.raises(UnknownModel, match=r"no LORA has the id, name or alias ''; there is 'photon'$"):
        Catalog([SECOND, LORA]).resolve(Kind.LORA, "")


@pytest.mark.parametrize(("private", "name"), [(PRIVATE, "classified"), (PRIVATE, "8"), (PRIVATE_LORA, "Hidden")])
def test_a_private_model_of_any_kind_is_found_with_its_key(private: Model, name: str) -> None:
    assert Catalog([SECOND, PRIVATE, PRIVATE_LORA]).resolve(private.kind, name, "open sesame") is private


@pytest.mark.parametrize("access_key", ["", "open", "open sesame ", "\udcff"])
def test_without_it_the_words_are_those_for_a_model_that_is_not_there(access_key: str) -> None:
    told = []
    for catalog in (Catalog([SECOND, PRIVATE]), Catalog([SECOND])):
        with pytest.raises(UnknownModel) as refused:
            catalog.resolve(Kind.CHECKPOINT, "classified", access_key)
        told.append(refused.value.message)

    assert told[0] == told[1]


def test_a_private_model_is_never_suggested() -> None:
    with pytest.raises(UnknownModel, match=r"; the default is 'photon'$"):
        Catalog([SECOND, PRIVATE]).resolve(Kind.CHECKPOINT, "classifie")


def test_a_key_is_not_needed_where_none_is_asked() -> None:
    assert Catalog([SECOND]).resolve(Kind.CHECKPOINT, "photon", "a key of another model") is SECOND


def test_the_digest_of_an_access_key_is_not_shown() -> None:
    assert PRIVATE.access_key_sha256 not in repr(PRIVATE)


def test_the_default_is_the_first_checkpoint_that_is_not_private() -> None:
    assert Catalog([LORA, PRIVATE, FIRST, SECOND]).default is FIRST


@pytest.mark.parametrize("models", [[], [LORA], [PRIVATE]])
def test_a_catalogue_without_a_default_is_refused(models: list[Model]) -> None:
    with pytest.raises(UnknownModel, match="can be the default"):
        Catalog(models)


def test_a_model_is_got_by_its_id_alone_whatever_its_kind() -> None:
    catalog = Catalog([SECOND, LORA, PRIVATE])

    assert [catalog.get("7"), catalog.get("8")] == [LORA, PRIVATE]
    with pytest.raises(UnknownModel, match="no model has the id 'photon'"):
        catalog.get("photon")


@pytest.mark.parametrize("rival", [model("1", "PHOTON"), model("1", "681693017352010007"), model("1", "x", "Photon")])
def test_a_name_of_two_models_of_a_kind_is_refused_with_both(rival: Model) -> None:
    with pytest.raises(DarkroomError, match=f"to both 681693017352010007 and {rival.id}"):
        Catalog([SECOND, rival])


def test_an_id_of_two_models_is_refused_also_across_kinds() -> None:
    with pytest.raises(DarkroomError, match="gives the id 7 to both 'photon' and 'x'"):
        Catalog([SECOND, LORA, model("7", "x")])
