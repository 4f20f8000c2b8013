"""Workers that can do different things: a job is told what is missing, and runs when a worker comes that has it."""

import pytest

from tests.journeys.client import Client, Fleet, body

pytestmark = pytest.mark.journey

FIELDS = {"hrUpscaler": "Lanczos", "hrScale": 2, "hrSecondPassSteps": 2, "denoisingStrength": 0.1}
UPSCALER = {"type": "IMAGE_TO_UPSCALER", "imageToUpscaler": FIELDS}


async def test_a_job_that_no_worker_can_run_says_so_and_waits_for_one(client: Client, fleet: Fleet) -> None:
    for worker in fleet.running("gpu_worker"):
        worker.ask_to_stop()
    fleet.start("gpu_worker", DARKROOM_STAGES="INPUT_INITIALIZE,DIFFUSION")
    simple = await client.submit()
    assert (await client.ended(simple))["status"] == "SUCCESS"
    request = body()
    request["stages"].append(UPSCALER)

    told = (await client.post(request))["job"]
    another = await client.ended(await client.submit())
    fleet.start("gpu_worker", DARKROOM_POOL="large")

    assert (told["isPossible"], told["impossibleBecause"]) == (False, ["the workers do not run IMAGE_TO_UPSCALER"])
    # Nobody is held up by it.
    assert another["status"] == "SUCCESS"
    job = await client.ended(told["id"])
    assert job["status"] == "SUCCESS"
    (image,) = job["successInfo"]["images"]
    assert image["image"]["width"] == 1024
