"""The bodies of models, against golden JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.catalog import Family, Kind, Model
from jobs.dialects.tams_models import model_body, models_body

GOLDEN = Path(__file__).parent / "golden" / "models"
# What a published client demands of every model.
DEMANDED = {"id", "name", "description", "baseModel", "modelType", "showcaseImageUrls", "projectName"}
KNOWN_TYPES = {
    "CHECKPOINT", "TEXTUAL_INVERSION", "HYPERNETWORK", "AESTHETIC_GRADIENT", "LORA", "LOCON", "CONTROLNET", "POSES",
    "WILDCARDS", "OTHER", "LYCORIS", "DEFAULT",
}  # fmt: skip

LORA = Model(
    id="18446744073709551615",
    name="castle-style",
    aliases=("castles",),
    kind=Kind.LORA,
    family=Family.SDXL,
    path=Path("/models/castles.safetensors"),
    description="Castles, in watercolour",
    licence="OpenRAIL++",
    project_name="Castles",
    showcase_image_urls=("https://images.example/1.png", "https://images.example/2.png"),
    trigger_words=("castle style", "watercolour"),
    sha256="0" * 64,
    access_key_sha256="1" * 64,
)
UPSCALER = Model(id="8", name="4x", kind=Kind.UPSCALER, family=Family.ANY, path=Path("/models/4x.safetensors"))


def golden(name: str) -> Any:
    return json.loads((GOLDEN / f"{name}.json").read_text())


@pytest.mark.parametrize(("name", "model"), [("model", LORA), ("model_without_details", UPSCALER)])
def test_a_model_is_told_as_its_clients_read_it(name: str, model: Model) -> None:
    assert model_body(model) == golden(name)


@pytest.mark.parametrize(("name", "cursor"), [("page", "Nw"), ("last_page", "")])
def test_a_page_says_how_to_go_on_unless_it_is_the_last(name: str, cursor: str) -> None:
    assert models_body([UPSCALER, LORA], cursor) == golden(name)


@pytest.mark.parametrize("kind", Kind)
def test_a_published_client_can_read_a_model_of_every_kind(kind: Kind) -> None:
    body = model_body(Model(id="7", name="x", kind=kind, family=Family.SD15, path=Path("x")))["model"]

    assert body.keys() >= DEMANDED
    assert body["modelType"] in KNOWN_TYPES
    assert body["modelType"] in (kind, "OTHER") and (body["modelType"] == kind) == (kind in KNOWN_TYPES)
