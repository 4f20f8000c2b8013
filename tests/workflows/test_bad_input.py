"""What cannot be drawn is refused with its field, or ends as FATAL_ERROR with its stage; the next job is drawn."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from jobs.catalog import Catalog, Family, Kind, Model
from jobs.storage.database import Database
from tests.gpu_worker.engine.small_device import SmallDevice, install
from tests.workflows.conftest import ROOT, Service, png

GREY = Image.new("RGB", (512, 512), "grey")


def body(*more: Any, image: str | None = None, **diffusion: Any) -> dict[str, Any]:
    begin = {"seed": 1, **({"imageResourceId": image} if image else {})}
    drawn = {"width": 512, "height": 512, "prompts": [{"text": "a red circle"}], "sampler": "Euler", "steps": 1}
    return {
        "requestId": uuid4().hex,
        "stages": [
            {"type": "INPUT_INITIALIZE", "inputInitialize": begin},
            {"type": "DIFFUSION", "diffusion": drawn | diffusion},
            *more,
        ],
    }


def control(model: str = "darkroom-shapes-canny", preprocessor: str = "canny") -> dict[str, Any]:
    return {"controlnet": {"args": [{"model": model, "preprocessor": preprocessor}]}}


def upscaler(name: str) -> dict[str, Any]:
    fields = {"hrUpscaler": name, "hrScale": 1.5, "hrSecondPassSteps": 1, "denoisingStrength": 0.3}
    return {"type": "IMAGE_TO_UPSCALER", "imageToUpscaler": fields}


def detailer(name: str) -> dict[str, Any]:
    return {"type": "IMAGE_TO_ADETAILER", "imageToAdetailer": {"args": [{"adModel": name}]}}


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    """What an operator may put into a catalogue by mistake."""
    folder = tmp_path_factory.mktemp("broken")
    whole = (ROOT / "models/darkroom-shapes/unet/diffusion_pytorch_model.safetensors").read_bytes()
    for name, content in {"garbage": b"\x00garbage" * 99, "torn": whole[: len(whole) // 2], "empty": b""}.items():
        (folder / f"{name}.safetensors").write_bytes(content)
    save_file(
        {f"lora_unet_input_blocks_4_1_proj_in.{name}.weight": torch.ones(4, 4) for name in ("lora_up", "lora_down")},
        folder / "xl-lora.safetensors",
    )
    save_file({"emb_params": torch.ones(1, 768)}, folder / "word.safetensors")
    shapes = ROOT / "models/darkroom-shapes"
    kinds = {
        "garbage": (Kind.CHECKPOINT, "garbage"),
        "torn": (Kind.CHECKPOINT, "torn"),
        "empty": (Kind.CHECKPOINT, "empty"),
        "absent": (Kind.CHECKPOINT, "absent"),
        "garbage-lora": (Kind.LORA, "garbage"),
        "xl-lora": (Kind.LORA, "xl-lora"),
        "768-word": (Kind.TEXTUAL_INVERSION, "word"),
        "garbage-edges": (Kind.CONTROLNET, "garbage"),
        "garbage-4x": (Kind.UPSCALER, "garbage"),
        "person_yolov8n-seg.pt": (Kind.DETECTOR, "garbage"),
        "garbage-vae": (Kind.VAE, "garbage"),
    }
    models = [
        Model(
            id=str(900 + i),
            name=name,
            kind=kind,
            family=Family.SD15,
            path=folder / f"{file}.safetensors",
            config_path=shapes,
        )
        for i, (name, (kind, file)) in enumerate(kinds.items())
    ]
    models.append(Model(id="990", name="exchanged", family=Family.SD15, path=shapes, sha256="0" * 64))
    models.append(Model(id="991", name="xl-ink", kind=Kind.LORA, family=Family.SDXL, path=folder / "absent"))
    return models


@pytest.fixture
def catalog(bundled: Catalog, broken: list[Model]) -> Catalog:
    return Catalog([*bundled.models, *broken])


@pytest.mark.parametrize(
    ("asked", "field", "words"),
    [
        (body(sdModel="darkroom-shaps"), "diffusion.sdModel", "did you mean 'darkroom-shapes'?"),
        (body(sdModel="1000000000000000009"), "diffusion.sdModel", "did you mean '1000000000000000001'?"),
        (
            body(lora={"items": [{"loraModel": "darkroom-nigth"}]}),
            "diffusion.lora.items[0].loraModel",
            "did you mean 'darkroom-shapes-night'?",
        ),
        (
            body(lora={"items": [{"loraModel": "xl-ink"}]}),
            "diffusion.lora.items[0].loraModel",
            "xl-ink is for SDXL checkpoints; the one named is SD15",
        ),
        (
            body(embedding={"items": [{"model": "darkroom-dsk"}]}),
            "diffusion.embedding.items[0].model",
            "did you mean 'darkroom-dusk'?",
        ),
        (body(sampler="DPM++ 2M Karas"), "diffusion.sampler", "did you mean 'DPM++ 2M Karras'"),
        (body(scheduleName="karas"), "diffusion.scheduleName", "did you mean 'karras'?"),
        (body(sdVae="garbage-vea"), "diffusion.sdVae", "did you mean 'garbage-vae'?"),
        (
            body(image="", **control(model="darkroom-shapes-cany")),
            "diffusion.controlnet.args[0].model",
            "did you mean 'darkroom-shapes-canny'?",
        ),
        (
            body(**control(preprocessor="cany")),
            "diffusion.controlnet.args[0].preprocessor",
            "did you mean 'canny'?",
        ),
        (body(upscaler("Lanczoss")), "imageToUpscaler.hrUpscaler", "did you mean 'Lanczos'?"),
        (body(upscaler("darkroom-4x")), "imageToUpscaler.hrUpscaler", "did you mean 'darkroom-shapes-4x'?"),
        (body(detailer("face_yolo8n")), "imageToAdetailer.args[0].adModel", "did you mean 'face_yolov8n.pt'"),
        (body(width=1536, height=1536, steps=60), "diffusion.width", "1536 is over the 1024 pixels"),
        (body(steps=61), "diffusion.steps", "1 to 60"),
    ],
)
async def test_what_no_worker_could_draw_is_refused_with_its_field(
    service: Service, asked: dict[str, Any], field: str, words: str
) -> None:
    faults = await service.refusal(asked)

    stage = len(asked["stages"]) - 1
    assert words in faults[f"stages[{stage}].{field}"], faults


async def test_a_mask_of_another_size_is_refused_where_it_can_be_known(service: Service) -> None:
    picture, mask = await service.upload(GREY), await service.upload(Image.new("L", (512, 448), "white"))
    inpaint = {"type": "IMAGE_TO_INPAINT", "imageToInpaint": {"maskImageResourceId": mask}}
    alone = body(inpaint, image=picture)
    drawn = alone["stages"].pop(1)
    inpaint["imageToInpaint"]["diffusion"] = drawn["diffusion"]

    for asked in (alone, body({**inpaint, "imageToInpaint": {"maskImageResourceId": mask}})):
        (fault,) = (await service.refusal(asked)).items()
        assert fault[0].endswith(".imageToInpaint.maskImageResourceId")
        assert fault[1] == "the mask must be as large as the picture: it is 512 × 448, the picture 512 × 512"


async def test_a_mask_of_another_size_than_what_was_drawn_ends_the_job(service: Service) -> None:
    mask = await service.upload(Image.new("L", (512, 448), "white"))
    inpaint = {"type": "IMAGE_TO_INPAINT", "imageToInpaint": {"maskImageResourceId": mask}}

    job = await service.draw(body(upscaler("Lanczos"), inpaint))

    await failed(service, job, "stages[3].imageToInpaint: the mask must be as large as the picture: the mask is 512")


async def test_an_upload_of_no_bytes_is_refused_and_is_no_picture(service: Service) -> None:
    resource_id, status, answer = await service.api.upload(b"")

    faults = await service.refusal(body(image=resource_id))

    assert status == 400 and f"the picture of resource {resource_id} has no bytes" in answer["message"]
    assert "there is no resource" in faults["stages[0].inputInitialize.imageResourceId"]


async def test_a_resource_that_has_expired_is_refused(service: Service, database: Database) -> None:
    resource_id = await service.upload(GREY)
    async with database.connection() as connection:
        await connection.execute("UPDATE resources SET expires_at = now() - interval '1 second'")

    faults = await service.refusal(body(image=resource_id))

    assert "there is no resource" in faults["stages[0].inputInitialize.imageResourceId"]


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (body(sdModel="garbage"), "stages[1].diffusion: model 900: cannot load "),
        (body(sdModel="torn"), "stages[1].diffusion: model 901: cannot load "),
        (body(sdModel="empty"), "stages[1].diffusion: model 902: cannot load "),
        (body(sdModel="absent"), "does not exist"),
        (body(sdModel="exchanged"), "but the catalogue states 000"),
        (body(lora={"items": [{"loraModel": "garbage-lora"}]}), "stages[1].diffusion: LORA 904: cannot load "),
        (body(lora={"items": [{"loraModel": "xl-lora"}]}), "LoRA 905 was made for another checkpoint"),
        (body(embedding={"items": [{"model": "768-word"}]}), "embedding 906 was made for another checkpoint"),
        (body(sdVae="garbage-vae"), "stages[1].diffusion: VAE 910: cannot load "),
        (body(upscaler("garbage-4x")), "stages[2].imageToUpscaler: UPSCALER 908: cannot load "),
        (body(detailer("person_yolov8n-seg.pt")), "stages[2].imageToAdetailer: "),
    ],
)
async def test_what_a_worker_cannot_open_ends_the_job_and_not_the_worker(
    service: Service, asked: dict[str, Any], reason: str
) -> None:
    job = await service.draw(asked)

    await failed(service, job, reason)


async def test_a_controlnet_that_cannot_be_opened_ends_the_job(service: Service) -> None:
    job = await service.draw(body(image=await service.upload(GREY), **control(model="garbage-edges")))

    await failed(service, job, "stages[1].diffusion: CONTROLNET 907: cannot load ")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda file: file.write_bytes(b""), "the stored input picture cannot be decoded"),
        (lambda file: file.write_bytes(png(GREY)[:500]), "the stored input picture cannot be decoded"),
        (Path.unlink, "is no longer kept"),
    ],
)
async def test_a_stored_picture_that_is_lost_ends_the_job(
    service: Service, spoil: Callable[[Path], None], reason: str
) -> None:
    resource_id = await service.upload(GREY)
    (file,) = service.files.rglob("*.png")
    status, answer = await service.api.post_job(body(image=resource_id))
    assert status == 200
    spoil(file)

    await service.runner.run((int(answer["job"]["id"]), 1))

    job = await service.api.job(answer["job"]["id"])
    await failed(service, job, f"stages[0].inputInitialize: input picture {UUID(resource_id)}: ")
    assert reason in job["failedInfo"]["reason"]


async def test_a_picture_that_the_device_cannot_hold_ends_the_job_with_its_size(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = install(SmallDevice(pixels=40 * 40), monkeypatch)

    job = await service.draw(body(width=1024, height=1024, steps=60))
    device.pixels = float("inf")

    await failed(service, job, "stages[1].diffusion: out of memory while drawing 1 of 1024 x 1024, with no other model")
    assert "MiB are free on cpu" in job["failedInfo"]["reason"]


async def test_on_a_small_device_pictures_are_drawn_one_by_one(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two rows: one picture with guidance. Tiles of 256 pixels, and what the VAE's middle sees of them.
    device = install(SmallDevice(rows=2, pixels=256 * 256), monkeypatch)
    asked = body(steps=2)
    asked["stages"][0]["inputInitialize"]["count"] = 3

    job = await service.draw(asked)

    assert job["status"] == "SUCCESS" and len(job["successInfo"]["images"]) == 3
    assert set(device.refusals) == {"rows", "pixels"}


async def failed(service: Service, job: dict[str, Any], reason: str) -> None:
    """It ended as it must, and what comes next is drawn."""
    assert job["status"] == "FAILED"
    assert job["failedInfo"]["code"] == "FATAL_ERROR"
    assert reason in job["failedInfo"]["reason"], job["failedInfo"]["reason"]
    assert (await service.draw(body()))["status"] == "SUCCESS"
