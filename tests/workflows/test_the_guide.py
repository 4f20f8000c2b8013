"""The published guide's workflows, to the end, by the real API and a real worker on the bundled models.

The bodies are the guide's as they stand, without its comments; the catalogue has the bundled models by the ids and
names that the guide uses, and the resources are uploads of ours. One size is smaller than the guide's, see LIGHTER.
"""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image, ImageDraw

from jobs.catalog import Catalog, Family, Kind, Model
from tests.workflows.conftest import ROOT, Service

BODIES = ROOT / "tests/jobs/dialects/golden/requests"
PICTURE, MASK = "67f8de0b-4949-4f88-abb4-cf57b16459da", "48203af7-6b07-4f1c-8506-f3f545613653"
FACE = "f204c24a-52dc-4cf4-930a-9b8f73969414"
CHECKPOINTS = ("600423083519508503", "681693017352010007", "613045163490732233")
FACE_BOX = (128, 200, 384, 456)
# 1536 × 2304 pixels take two cores minutes.
LIGHTER = {'"hrResizeX": 1536, "hrResizeY": 2304': '"hrResizeX": 640, "hrResizeY": 960'}


@pytest.fixture
def catalog(bundled: Catalog) -> Catalog:
    def named(id: str, name: str, path: Path, kind: Kind = Kind.CHECKPOINT, family: Family = Family.SD15) -> Model:
        return Model(id=id, name=name, kind=kind, family=family, path=path)

    models = ROOT / "models"
    large = models / "darkroom-shapes-4x/darkroom-shapes-4x.safetensors"
    return Catalog(
        [
            *(named(id, f"shapes-{id}", models / "darkroom-shapes") for id in CHECKPOINTS),
            named("661652545330040294", "night", models / "darkroom-shapes-night/night.safetensors", Kind.LORA),
            named("13", "vae-ft-mse-840000-ema-pruned.ckpt", models / "darkroom-shapes/vae", Kind.VAE),
            *(
                named(id, name, large, Kind.UPSCALER, Family.ANY)
                for id, name in (("20", "4x-UltraSharp"), ("21", "4x-AnimeSharp"))
            ),
        ]
    )


def face() -> Image.Image:
    """As darkroom-shapes draws them, 512 × 768."""
    picture = Image.new("RGB", (512, 768), (60, 110, 200))
    draw = ImageDraw.Draw(picture)
    left, top, right, bottom = FACE_BOX
    draw.ellipse(FACE_BOX, fill=(245, 210, 90))
    middle, side = (left + right) // 2, right - left
    for x in (middle - side // 5, middle + side // 5):
        draw.ellipse((x - 18, top + side // 3 - 18, x + 18, top + side // 3 + 18), fill=(20, 20, 20))
    draw.arc((left + 60, top + 80, right - 60, bottom - 50), 20, 160, fill=(20, 20, 20), width=14)
    return picture


async def body_of(name: str, service: Service) -> Any:
    """The guide's body with resources of this account."""
    text = json.dumps(json.loads((BODIES / f"guide_{name}.json").read_text())["body"])
    mask = Image.new("L", (512, 768))
    mask.paste(255, FACE_BOX)
    for theirs, picture in ((PICTURE, face()), (FACE, face()), (MASK, mask.convert("RGB"))):
        if theirs in text:
            text = text.replace(theirs, await service.upload(picture))
    for heavy, light in LIGHTER.items():
        text = text.replace(heavy, light)
    body = json.loads(text)
    # A requestId stands for one job for ever, and the guide has one for all.
    body[next(name for name in ("requestId", "request_id") if name in body)] = uuid4().hex
    return body


@pytest.mark.parametrize(
    ("name", "count", "size"),
    [
        ("txt2img", 2, (512, 512)),
        ("txt2img_adetailer", 2, (512, 512)),
        ("txt2img_upscaler", 2, (1024, 1024)),
        ("img2img", 2, (512, 512)),
        ("img2img_adetailer", 2, (512, 512)),
        ("img2img_upscaler", 2, (1024, 1024)),
        ("adetailer_alone", 1, (512, 768)),
        ("upscaler_alone", 1, (1024, 1024)),
        ("inpaint", 1, (512, 768)),
        ("lora", 1, (512, 768)),
        ("butterfly", 1, (640, 960)),
    ],
)
async def test_a_workflow_of_the_guide_ends_in_pictures(
    service: Service, name: str, count: int, size: tuple[int, int]
) -> None:
    job = await service.draw(await body_of(name, service))

    assert job["status"] == "SUCCESS", job
    images = job["successInfo"]["images"]
    pictures = [await service.picture(image["url"]) for image in images]
    assert [picture.size for picture in pictures] == [size] * count
    assert all(np.asarray(picture).std() > 5 for picture in pictures)
    assert len({picture.tobytes() for picture in pictures}) == count


@pytest.mark.parametrize("name", ["inpaint", "adetailer_alone"])
async def test_what_is_not_asked_for_keeps_every_bit(service: Service, name: str) -> None:
    before = np.asarray(face(), int)
    job = await service.draw(await body_of(name, service))

    (image,) = job["successInfo"]["images"]
    changed = np.abs(np.asarray(await service.picture(image["url"]), int) - before).max(axis=2) > 0
    left, top, right, bottom = FACE_BOX
    # The mask is blurred by four pixels, and reaches as far as its gaussian.
    reach = 4 + 4 * 3
    assert changed[top:bottom, left:right].mean() > 0.5
    changed[top - reach : bottom + reach, left - reach : right + reach] = False
    assert not changed.any()
