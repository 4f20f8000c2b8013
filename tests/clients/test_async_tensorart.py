"""async-tensorart, unchanged but for its base URL: all that it can ask, signed with its own code."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from jobs.dialects.tams_signature import written_key
from jobs.job import Failure, FailureCode, Image
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.database import Database
from jobs.storage.job_store import JobStore
from tests import one_job
from tests.orchestrator.conftest import Api

pytest.importorskip("async_tensorart", reason="pip install --no-deps -r tests/clients/requirements.txt")

from async_tensorart.client import TensorArt
from async_tensorart.exceptions import (
    TensorArtBadRequestError,
    TensorArtNotFoundError,
    TensorArtUnauthorizedError,
)
from async_tensorart.signature import PrivateKey
from async_tensorart.structs.jobs.get.status import Status
from async_tensorart.structs.jobs.post.diffusion_input import DiffusionInput, Prompt
from async_tensorart.structs.jobs.post.enums import VAE, Sampler, StageTypeT
from async_tensorart.structs.jobs.post.job import PostJob
from async_tensorart.structs.jobs.post.stage import CreateJobRequestStage, InputInitializeInput
from async_tensorart.structs.models.model import ModelType

LEASE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def rsa_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65537, key_size=2048)


@pytest.fixture
def key_file(rsa_key: RSAPrivateKey, tmp_path: Path) -> Path:
    file = tmp_path / "private.pem"
    file.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return file


@pytest.fixture
async def client(api: Api, database: Database, rsa_key: RSAPrivateKey, key_file: Path) -> AsyncIterator[TensorArt]:
    account = await AccountStore(database).ensure("tensorart")
    app_id = await AppStore(database).add(account.id, written_key(rsa_key.public_key()))
    async with aiohttp.ClientSession() as session:
        # Its endpoint must end in /v1/: it signs that path, whatever it is told.
        yield TensorArt(app_id, str(api.client.make_url("/v1/")), session, PrivateKey(key_file))


@pytest.fixture
def jobs(database: Database) -> JobStore:
    return JobStore(database)


def job(**diffusion: Any) -> PostJob:
    asked = {"prompts": [Prompt(text="a réd circle 🦊", weight=1.0)], "sampler": Sampler.EULER_A} | diffusion
    return PostJob(
        request_id=uuid4().hex,
        stages=[
            CreateJobRequestStage(type=StageTypeT.INPUT_INITIALIZE, input_initialize=InputInitializeInput(count=2)),
            CreateJobRequestStage(type=StageTypeT.DIFFUSION, diffusion=DiffusionInput(**asked)),
        ],
    )


async def test_post_job(client: TensorArt) -> None:
    posted = await client.post_job(job())

    assert posted.status is Status.CREATED
    assert posted.waiting_info.queue_rank == "1"


async def test_post_job_means_the_same_job_when_it_is_sent_again(client: TensorArt) -> None:
    asked = job(sd_vae=VAE.AUTOMATIC, sd_model="101", steps=25, cfg_scale=7.5, clip_skip=2)

    assert (await client.post_job(asked)).id == (await client.post_job(asked)).id


async def test_get_job_while_it_waits(client: TensorArt) -> None:
    first, second = [await client.post_job(job()) for _ in range(2)]

    shown = [await client.get_job(each.id) for each in (first, second)]

    assert [each.status for each in shown] == [Status.WAITING] * 2
    assert [each.waiting_info.queue_rank for each in shown] == ["1", "2"]


async def test_get_job_while_it_runs(client: TensorArt, jobs: JobStore) -> None:
    posted = await client.post_job(job())
    await one_job.claim(jobs, int(posted.id), 1, worker="test:1", lease=LEASE)

    assert (await client.get_job(posted.id)).status is Status.RUNNING


async def test_get_job_when_it_has_succeeded(client: TensorArt, jobs: JobStore) -> None:
    posted = await client.post_job(job())
    claimed = await one_job.claim(jobs, int(posted.id), 1, worker="test:1", lease=LEASE)
    assert claimed is not None
    image = Image(id=uuid4(), key="outputs/0.png", format="png", width=512, height=512)
    await one_job.succeed(jobs, claimed, [image])

    shown = await client.get_job(int(posted.id))

    assert shown.status is Status.SUCCESS
    (picture,) = shown.success_info.images
    assert (picture.id, picture.expired_in) == (str(image.id), "86400")
    assert picture.url.startswith("http://public.example/v1/images/")


async def test_get_job_when_it_has_failed(client: TensorArt, jobs: JobStore) -> None:
    posted = await client.post_job(job())
    claimed = await one_job.claim(jobs, int(posted.id), 1, worker="test:1", lease=LEASE)
    assert claimed is not None
    await jobs.fail(claimed.id, claimed.attempt, Failure(code=FailureCode.FATAL_ERROR, reason="the model is damaged"))

    shown = await client.get_job(posted.id)

    assert (shown.status, shown.failed_info.reason) == (Status.FAILED, "the model is damaged")


async def test_del_job(client: TensorArt, api: Api) -> None:
    posted = await client.post_job(job())

    deleted = await client.del_job(posted.id)

    assert deleted.job_id == posted.id
    assert (await client.get_job(posted.id)).status is Status.CANCELED


async def test_get_model(client: TensorArt, api: Api) -> None:
    model = await client.get_model(101)

    assert (model.id, model.model_type) == ("101", ModelType.CHECKPOINT)
    assert model.name


async def test_refusals_are_the_errors_that_the_client_knows(client: TensorArt) -> None:
    with pytest.raises(TensorArtBadRequestError, match=r"stages\[1\].diffusion.width"):
        await client.post_job(job(width=500))
    with pytest.raises(TensorArtNotFoundError):
        await client.get_job(1)


async def test_another_private_key_is_not_let_in(client: TensorArt, tmp_path: Path) -> None:
    stranger = generate_private_key(public_exponent=65537, key_size=2048)
    file = tmp_path / "stranger.pem"
    file.write_bytes(stranger.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    client.private_key = PrivateKey(file)

    with pytest.raises(TensorArtUnauthorizedError, match="does not fit"):
        await client.post_job(job())
