"""Another attempt, and another job that begins alike, goes on where the stages are done."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from jobs.engine import Picture
from jobs.errors import TransitoryFailure, Unavailable
from jobs.job import JobStatus
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import Detail, ImageToAdetailer
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.storage.account_store import AccountStore
from jobs.storage.stage_store import StageStore
from jobs.upscalers import Upscaler
from tests.gpu_worker.conftest import STEPS, Bench
from tests.gpu_worker.scripted_engine import ScriptedEngine

ALL_STEPS = [*range(1, STEPS + 1)]
DRAWN = Diffusion(width=512, height=512, prompt=(), model="101", sampler="Euler", steps=STEPS)
LOOK = ImageToAdetailer(details=(Detail(),), diffusion=DRAWN)
LATENT = ImageToUpscaler(upscaler=Upscaler.LATENT, scale=1.5, steps=1, denoising_strength=0.5, diffusion=DRAWN)


@dataclass
class Looking(ScriptedEngine):
    """Fails at the looks that are numbered here, from 1."""

    fails_at: tuple[int, ...] = ()
    looks: list[Picture] = field(default_factory=list)

    def find(self, picture: Picture, look: Any) -> list[Picture]:
        self.looks.append(picture)
        if len(self.looks) in self.fails_at:
            raise TransitoryFailure("the look failed")
        return []


async def test_another_attempt_goes_on_at_the_first_unfinished_stage(bench: Bench) -> None:
    job_id = await bench.accept(LOOK, LOOK, count=2)
    first, second = Looking(fails_at=(3,)), Looking()

    await bench.runner(first).run((job_id, 1))
    assert (await bench.job(job_id)).status == JobStatus.WAITING
    await bench.runner(second).run((job_id, 2))

    job = await bench.job(job_id)
    assert job.status == JobStatus.SUCCESS
    assert (first.steps_done, second.steps_done) == (ALL_STEPS, [])
    # Both pictures, in the last stage alone, as they were.
    assert [picture.getpixel((0, 0)) for picture in second.looks] == [(5, 5, 5), (6, 6, 6)]  # type: ignore[attr-defined]
    assert [image.width for image in job.images] == [512, 512]
    # What the stage before had noted is told all the same.
    nothing = [f"imageToAdetailer.args[0] found nothing in picture {number}" for number in (1, 2)]
    assert await bench.last_event(job_id) == ("SUCCESS", "; ".join(nothing * 2))


async def test_a_job_of_the_account_that_begins_alike_goes_on_from_there(bench: Bench) -> None:
    await bench.runner(Looking()).run((await bench.accept(LOOK), 1))
    engine = Looking()

    await bench.runner(engine).run((await bench.accept(LOOK), 1))

    assert (engine.steps_done, len(engine.looks)) == ([], 1)


@pytest.mark.parametrize("other", ["seed", "count", "account", "models"])
async def test_what_differs_is_drawn(bench: Bench, other: str) -> None:
    await bench.runner(Looking()).run((await bench.accept(LOOK), 1))
    wish: dict[str, Any] = {"seed": 6} if other == "seed" else {"count": 2} if other == "count" else {}
    if other == "account":
        bench.account_id = (await AccountStore(bench.database).ensure("another")).id
    if other == "models":
        bench.drawn_by = "the models of tomorrow"
    engine = Looking()

    await bench.runner(engine).run((await bench.accept(LOOK, **wish), 1))

    assert engine.steps_done == ALL_STEPS


async def test_pictures_that_are_gone_are_drawn_again(bench: Bench) -> None:
    await bench.runner(Looking()).run((await bench.accept(LOOK), 1))
    await bench.files.delete_folder("stages")
    engine = Looking()

    job_id = await bench.accept(LOOK)
    await bench.runner(engine).run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.SUCCESS
    assert engine.steps_done == ALL_STEPS


async def test_a_job_whose_stages_cannot_be_kept_is_drawn(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    put = bench.files.put

    async def refusing_stages(key: str, content: bytes) -> None:
        if key.startswith("stages/"):
            raise Unavailable
        await put(key, content)

    monkeypatch.setattr(bench.files, "put", refusing_stages)
    job_id = await bench.accept(LOOK)
    await bench.runner(Looking()).run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.SUCCESS


async def test_no_picture_is_stored_of_which_no_row_tells(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_arguments: Any, **_named: Any) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(StageStore, "keep", away)
    job_id = await bench.accept(LOOK)
    await bench.runner(Looking()).run((job_id, 1))

    assert (await bench.job(job_id)).status == JobStatus.SUCCESS
    assert not (bench.folder / "stages").exists()


@pytest.mark.parametrize("more", [(), (LATENT,)], ids=["one stage", "latents"])
async def test_nothing_is_kept_of_what_no_stage_could_go_on_from(bench: Bench, more: tuple[Any, ...]) -> None:
    await bench.runner(Looking()).run((await bench.accept(*more), 1))

    assert not (bench.folder / "stages").exists()
