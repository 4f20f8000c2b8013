from pathlib import Path

import pytest

from jobs.catalog import Catalog, Family, Model, UnknownModel
from jobs.errors import DarkroomError


def model(id: str, name: str, *aliases: str) -> Model:
    return Model(id=id, name=name, aliases=aliases, family=Family.SD15, path=Path("absent"))


FIRST = model("600423083519508503", "DreamShaper-8", "dream", "DS8")
SECOND = model("681693017352010007", "photon")


@pytest.mark.parametrize(
    "name", ["600423083519508503", "DreamShaper-8", "dream", "DS8", "dreamshaper-8", "DREAM", "ds8"]
)
def test_a_model_is_found_by_id_name_or_alias_in_any_case(name: str) -> None:
    assert Catalog([SECOND, FIRST]).resolve(name) is FIRST


def test_an_empty_name_is_the_first_model() -> None:
    assert Catalog([SECOND, FIRST]).resolve("") is SECOND


def test_an_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(UnknownModel, match="no model is named 'photn'; did you mean photon"):
        Catalog([FIRST, SECOND]).resolve("photn")


def test_an_unknown_name_near_nothing_names_the_default() -> None:
    with pytest.raises(UnknownModel, match="the default is DreamShaper-8"):
        Catalog([FIRST, SECOND]).resolve("zzzzzzzzzzzz")


@pytest.mark.parametrize("rival", [model("1", "PHOTON"), model("681693017352010007", "x"), model("1", "x", "Photon")])
def test_a_name_of_two_models_is_refused_with_both(rival: Model) -> None:
    with pytest.raises(DarkroomError, match=f"to both 681693017352010007 and {rival.id}"):
        Catalog([SECOND, rival])


def test_an_empty_catalogue_is_refused() -> None:
    with pytest.raises(UnknownModel):
        Catalog([])
