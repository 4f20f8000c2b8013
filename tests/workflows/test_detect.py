"""What a network makes of a picture: asked for over HTTP, seen by a real worker, and then drawn from."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import DPTConfig, DPTForDepthEstimation
from transformers.models.dpt.image_processing_pil_dpt import DPTImageProcessorPil

from gpu_worker.engine.device import CPU
from gpu_worker.engine.looking import load_looker, looked
from jobs.catalog import Catalog, Family, Kind, Model
from jobs.preprocessors import Preprocessor, parameters_of
from jobs.storage.background import beside
from orchestrator import foresight
from tests.until import until
from tests.workflows.conftest import Service

DETECT = "/v1/controlnet/detect"


@pytest.fixture
def network(tmp_path: Path) -> Model:
    """It sees depth, by random weights."""
    torch.manual_seed(1)
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, is_hybrid=False,
        reassemble_factors=[4, 2, 1, 0.5],
    )  # fmt: skip
    DPTForDepthEstimation(config).save_pretrained(tmp_path / "dpt")
    DPTImageProcessorPil(keep_aspect_ratio=False).save_pretrained(tmp_path / "dpt")
    return Model(id="301", name="depth_midas", kind=Kind.PREPROCESSOR, family=Family.ANY, path=tmp_path / "dpt")


@pytest.fixture
def catalog(bundled: Catalog, network: Model, monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.setattr(foresight, "LOOK_EVERY_S", 0.05)
    return Catalog([*bundled.models, network])


def picture() -> Image.Image:
    rows, columns = np.mgrid[0:96, 0:160]
    return Image.fromarray(np.stack([rows * 2, columns, 255 * (rows > 48)], axis=2).astype(np.uint8))


async def run_next(service: Service) -> None:
    """What a worker does in its turns."""
    picked = []

    async def is_given() -> bool:
        picked.extend(await service.runner.pick())
        return bool(picked)

    await until(is_given)
    await service.runner.run(*picked)
    await service.runner.settled()


async def looked_at(service: Service) -> tuple[int, Any]:
    """What is answered once a worker has looked at the picture."""
    body = {"controlnetModule": "depth", "resourceId": await service.upload(picture())}
    async with beside(service.runner.presence.tell_for_ever()):
        await asyncio.sleep(0.3)
        asking = asyncio.create_task(service.api.call("POST", DETECT, json=body))
        await run_next(service)
        return await asking


async def test_a_network_is_looked_with_by_a_worker_and_a_job_begins_from_what_it_saw(
    service: Service, network: Model
) -> None:
    status, answer = await looked_at(service)

    assert status == 200, answer
    image = answer["result"]["resourceImage"]
    depth = Preprocessor.DEPTH
    with torch.inference_mode():
        looker = load_looker(network, depth, CPU)
        expected = looked(looker, picture(), depth, parameters_of(depth, {}), pixel_perfect=False)
    assert np.array_equal(np.asarray(await service.picture(image["url"])), np.asarray(expected))
    drawing = {
        "requestId": uuid4().hex,
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": 1, "imageResourceId": image["id"]}},
            {
                "type": "DIFFUSION",
                "diffusion": {"width": 512, "height": 512, "steps": 1, "prompts": [{"text": "a red circle"}]},
            },
        ],
    }
    assert (await service.draw(drawing))["status"] == "SUCCESS"


async def test_a_network_that_is_damaged_is_told_by_name(service: Service, network: Model) -> None:
    (network.path / "config.json").write_text('{"model_type": "dpt", "hidden_size": "damaged"}')

    status, answer = await looked_at(service)

    assert status == 400, answer
    (fault,) = answer["details"][0]["fieldViolations"]
    assert fault["field"] == "controlnetModule"
    assert "PREPROCESSOR 301" in fault["description"]
