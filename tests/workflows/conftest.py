"""The whole service in one process: the real API, a real worker, the bundled models. Only the processes are missing."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from arq.connections import ArqRedis
from PIL import Image

from config.catalog import read_catalog
from gpu_worker.engine.device import CPU
from gpu_worker.engine.engine import DiffusersEngine
from gpu_worker.heart.keeper import StoreKeeper
from gpu_worker.runner import Runner, RunnerOptions
from gpu_worker.stores import stores_on
from jobs.ability import Ability
from jobs.capabilities import RUNNABLE
from jobs.catalog import Catalog
from jobs.storage.cancels import Cancels
from jobs.storage.database import Database
from jobs.storage.local_files import LocalFiles
from orchestrator.app import WebOptions
from tests.orchestrator.conftest import Api, open_api, path_of

ROOT = Path(__file__).parents[2]
MAX_UPLOAD_BYTES = 2_000_000


@dataclass
class Service:
    """Speaks to the API as one account, and lets the worker take its turn."""

    api: Api
    runner: Runner
    files: Path

    async def draw(self, body: Any) -> dict[str, Any]:
        """The job when the worker is done with it."""
        status, answer = await self.api.post_job(body)
        assert status == 200, answer
        job_id = answer["job"]["id"]
        await self.runner.run((int(job_id), 1))
        await self.runner.settled()
        return await self.api.job(job_id)

    async def refusal(self, body: Any) -> dict[str, str]:
        """The faults of a body that is refused with 400, by the fields that they name."""
        status, answer = await self.api.post_job(body)
        assert status == 400, answer
        (detail,) = [each for each in answer["details"] if "fieldViolations" in each]
        return {each["field"]: each["description"] for each in detail["fieldViolations"]}

    async def upload(self, picture: Image.Image) -> str:
        resource_id, status, answer = await self.api.upload(png(picture))
        assert status == 200, answer
        return resource_id

    async def picture(self, url: str) -> Image.Image:
        async with self.api.client.get(path_of(url)) as response:
            assert response.status == 200
            return Image.open(io.BytesIO(await response.read()))


def png(picture: Image.Image) -> bytes:
    content = io.BytesIO()
    picture.save(content, "PNG")
    return content.getvalue()


@pytest.fixture(scope="session")
def bundled() -> Catalog:
    return read_catalog(ROOT / "config/catalog.toml", ROOT / "models")


@pytest.fixture
def catalog(bundled: Catalog) -> Catalog:
    return bundled


@pytest.fixture(scope="session")
def engines() -> dict[tuple[str, ...], DiffusersEngine]:
    """By the models that they know: loading one takes a second."""
    return {}


@pytest.fixture
async def service(
    catalog: Catalog,
    engines: dict[tuple[str, ...], DiffusersEngine],
    database: Database,
    redis: ArqRedis,
    tmp_path: Path,
) -> AsyncIterator[Service]:
    known = tuple(str(model.path) for model in catalog.models)
    engine = engines.setdefault(known, DiffusersEngine(catalog, CPU, max_cached_bytes=2**31))
    files = tmp_path / "files"
    options = WebOptions(
        public_url="http://public.example",
        secret=b"a secret of the tests",
        files=files,
        catalog=catalog,
        max_body_bytes=200_000,
        max_upload_bytes=MAX_UPLOAD_BYTES,
        max_upload_pixels=4_000_000,
        signature_window=timedelta(seconds=300),
        max_streams=5,
        max_streams_per_account=3,
        upload_origins=("*",),
        sweep_every=timedelta(hours=1),
        max_attempts=2,
    )
    async with open_api(options, database, redis) as api:
        yield Service(api, _runner(engine, catalog, database, redis, files), files)


def _runner(engine: DiffusersEngine, catalog: Catalog, database: Database, redis: ArqRedis, files: Path) -> Runner:
    options = RunnerOptions(
        worker="test:1",
        pool="test",
        # Of all that it knows: what is missing, it finds out.
        ability=Ability(RUNNABLE, {model.id: "" for model in catalog.models}),
        lease=timedelta(seconds=60),
        retry_delay=timedelta(minutes=1),
        max_attempts=2,
        attempt_within=timedelta(minutes=10),
        hung_after=timedelta(minutes=10),
        drawn_by="tests",
    )
    stores = stores_on(database, redis, LocalFiles(files), Cancels(redis))
    return Runner(options, engine=engine, keeper=StoreKeeper(stores.jobs, options.lease), stores=stores)
