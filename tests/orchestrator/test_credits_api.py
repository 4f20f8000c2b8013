"""What jobs cost, as clients ask and are told; and what an account without credits hears."""

import asyncio
import io
from decimal import Decimal
from typing import Any

import pytest
from PIL import Image

from jobs.storage.database import Database
from jobs.storage.ledger import Ledger
from tests.orchestrator.conftest import Api, body, new_key


def stages(**changes: Any) -> dict[str, Any]:
    return {"stages": body(**changes)["stages"]}


@pytest.fixture
async def poor(api: Api, database: Database) -> Api:
    """An account with one credit and no more."""
    key = await new_key(database)
    async with database.connection() as connection:
        name = await connection.fetchval("SELECT name FROM accounts ORDER BY id DESC LIMIT 1")
    ledger = Ledger(database)
    await ledger.grant(name, Decimal(1))
    await ledger.limit(name, {"credits_enforced": True})
    return Api(api.client, key)


async def test_the_estimate_is_the_price_that_the_job_then_has(api: Api) -> None:
    status, estimate = await api.call("POST", "/v1/jobs/credits", json=stages(steps=30))
    _, created = await api.post_job(body(steps=30))

    assert (status, estimate) == (200, {"credits": 1.2})
    assert created["job"]["credits"] == 1.2
    assert (await api.job(created["job"]["id"]))["credits"] == 1.2


async def test_an_estimate_makes_no_job(api: Api, database: Database) -> None:
    await api.call("POST", "/v1/jobs/credits", json=stages())

    async with database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM jobs") == 0


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "stages"),
        ({"stages": []}, "stages"),
        ([], "body"),
        (stages(width=500), "stages[1].diffusion.width"),
        (stages() | {"requestId": "r"}, "requestId"),
    ],
)
async def test_stages_are_read_as_those_of_a_job(api: Api, asked: Any, field: str) -> None:
    status, answer = await api.call("POST", "/v1/jobs/credits", json=asked)

    assert (status, answer["code"]) == (400, 3)
    assert field in [each["field"] for each in answer["details"][0]["fieldViolations"]]


async def test_a_stranger_gets_no_estimate(api: Api) -> None:
    status, _ = await Api(api.client, "dk_unknown").call("POST", "/v1/jobs/credits", json=stages())

    assert status == 401


async def test_a_job_that_cannot_be_paid_is_refused_with_all_three_numbers(poor: Api) -> None:
    _, first = await poor.post_job(body(steps=20))

    status, answer = await poor.post_job(body(steps=10))

    assert first["job"]["credits"] == 0.8
    assert (status, answer["code"]) == (400, 9)
    assert answer["message"].startswith("This job costs 0.4 credits. The balance is 1, of which 0.8 are held")
    assert answer["details"] == [
        {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "INSUFFICIENT_CREDITS",
            "domain": "darkroom",
            "metadata": {"price": "0.4", "balance": "1", "held": "0.8"},
        }
    ]


async def test_in_a_crowd_only_those_that_cannot_be_paid_are_refused(api: Api, poor: Api) -> None:
    senders = [poor, api] * 10

    answers = await asyncio.gather(*(sender.post_job(body(steps=10)) for sender in senders))

    statuses = [status for status, _ in answers]
    assert statuses[1::2] == [200] * 10
    assert sorted(statuses[::2]) == [200] * 2 + [400] * 8  # 2 × 0.4 of 1


async def test_a_full_queue_is_told_as_exhausted(poor: Api, database: Database) -> None:
    async with database.connection() as connection:
        await connection.execute("UPDATE accounts SET max_waiting = 0")

    status, answer = await poor.post_job(body())

    assert (status, answer["code"]) == (429, 8)
    assert answer["details"][0]["reason"] == "TOO_MANY_WAITING"
    assert answer["details"][0]["metadata"] == {"waiting": "0", "maxWaiting": "0"}
    headers = {"Authorization": f"Bearer {poor.key}"}
    async with poor.client.post("/v1/jobs", json=body(), headers=headers) as response:
        assert response.headers["Retry-After"] == "5"


async def test_an_uploaded_picture_is_priced_at_its_own_size_where_it_keeps_it(api: Api) -> None:
    content = io.BytesIO()
    Image.new("RGB", (640, 512)).save(content, "PNG")
    resource_id, _, _ = await api.upload(content.getvalue())
    own = {"prompts": [{"text": "a face"}], "steps": 20}
    larger = {"hrUpscaler": "Lanczos", "hrScale": 2, "hrSecondPassSteps": 20, "denoisingStrength": 0.3}
    asked = [
        {"type": "INPUT_INITIALIZE", "inputInitialize": {"imageResourceId": resource_id, "count": 1}},
        {"type": "IMAGE_TO_ADETAILER", "imageToAdetailer": {"args": [{}], "diffusion": own}},
        {"type": "IMAGE_TO_UPSCALER", "imageToUpscaler": larger | {"diffusion": own}},
    ]

    status, estimate = await api.call("POST", "/v1/jobs/credits", json={"stages": asked})
    _, created = await api.post_job(body() | {"stages": asked})

    # 0.8 × 0.5 at the size of the diffusion, as the guide has it; then 1280 × 1024, which is 0.8 × 1.5.
    assert (status, estimate) == (200, {"credits": 1.6})
    assert created["job"]["credits"] == 1.6
