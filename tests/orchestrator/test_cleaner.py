"""What nobody can see any more goes; what somebody can see stays, whatever crashes."""

import asyncio
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from arq.connections import ArqRedis
from PIL import Image as PillowImage

import orchestrator.app
from jobs.errors import Unavailable
from jobs.job import Image, Job
from jobs.storage.account_store import AccountStore
from jobs.storage.cleaning_store import CleaningStore
from jobs.storage.database import Database
from jobs.storage.files import Files, open_files
from jobs.storage.job_store import JobStore
from jobs.storage.stage_store import StageOutput, StageStore
from orchestrator import cleaner as cleaner_module
from orchestrator.app import WebOptions, open_app
from orchestrator.cleaner import Cleaner
from orchestrator.resources_api import SHORT_TERM
from tests import one_job
from tests.orchestrator.conftest import Api, body
from tests.s3 import new_bucket


@pytest.fixture(autouse=True)
def the_applications_own_cleaner_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """One cleans at a time: a round of its own would turn ours away."""

    class Resting(Cleaner):
        async def clean_for_ever(self) -> None: ...

    monkeypatch.setattr(orchestrator.app, "Cleaner", Resting)


@pytest.fixture
async def files(files_folder: Path) -> AsyncIterator[Files]:
    async with open_files(files_folder) as opened:
        yield opened


@pytest.fixture
def cleaner(database: Database, files: Files) -> Cleaner:
    return Cleaner(CleaningStore(database), files)


def png(colour: str = "red") -> bytes:
    content = io.BytesIO()
    PillowImage.new("RGB", (64, 48), colour).save(content, "PNG")
    return content.getvalue()


def kept(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder).parent) for path in folder.rglob("*") if path.is_file())


async def age(database: Database, days: float) -> None:
    """As if all that is there had come this many days ago."""
    async with database.connection() as connection:
        for statement in (
            "UPDATE resources SET expires_at = expires_at - $1 * interval '1 day'",
            "UPDATE jobs SET created_at = created_at - $1 * interval '1 day',"
            " finished_at = finished_at - $1 * interval '1 day'",
        ):
            await connection.execute(statement, days)


async def begun_from(api: Api, database: Database, resource_id: str) -> Job:
    """A job that is being drawn from this picture."""
    request = body()
    request["stages"][0]["inputInitialize"]["imageResourceId"] = resource_id
    status, answer = await api.post_job(request)
    assert status == 200, answer
    job = await one_job.claim(JobStore(database), int(answer["job"]["id"]), 1, worker="w", lease=SHORT_TERM)
    assert job is not None
    return job


async def test_uploads_go_when_their_time_is_over_and_not_before(
    api: Api, cleaner: Cleaner, database: Database, files_folder: Path
) -> None:
    resource_id, _, _ = await api.upload(png())
    await api.call("POST", "/v1/resource/image", json={})  # nothing is ever sent here

    await age(database, 6.9)
    await cleaner.clean()
    before = kept(files_folder)
    await age(database, 0.2)
    await cleaner.clean()

    assert before == [f"uploads/{resource_id}"]
    assert kept(files_folder) == []
    assert await _count(database, "resources") == 0


async def test_an_upload_of_the_long_term_stays(
    api: Api, cleaner: Cleaner, database: Database, files_folder: Path
) -> None:
    _, resource = await api.call("POST", "/v1/resource/image", json={"term": 2})
    await api.call("PUT", resource["putUrl"].removeprefix("http://public.example"), data=png())
    await age(database, 10_000)

    await cleaner.clean()

    assert kept(files_folder) == [f"uploads/{resource['resourceId']}"]


async def test_a_picture_stays_until_the_job_that_was_accepted_with_it_has_ended(
    api: Api, cleaner: Cleaner, database: Database, files_folder: Path
) -> None:
    resource_id, _, _ = await api.upload(png())
    job = await begun_from(api, database, resource_id)
    await age(database, 8)

    await cleaner.clean()
    while_it_is_drawn = kept(files_folder)
    await one_job.succeed(JobStore(database), job, [])
    await cleaner.clean()

    assert while_it_is_drawn == [f"uploads/{resource_id}"]
    assert kept(files_folder) == []


async def test_what_lost_attempts_stored_goes_and_the_outputs_stay(
    api: Api, cleaner: Cleaner, database: Database, files: Files, files_folder: Path
) -> None:
    job = await _succeeded(api, database, files, attempts=3)

    await cleaner.clean()  # a lost attempt may still be writing
    at_once = kept(files_folder)
    await age(database, 1.1)
    await cleaner.clean()

    assert at_once == [f"outputs/{job.id}/{attempt}" for attempt in (1, 2, 3)]
    assert kept(files_folder) == [f"outputs/{job.id}/3"]
    (image,) = (await api.job(str(job.id)))["successInfo"]["images"]
    async with api.client.get(image["url"].removeprefix("http://public.example")) as response:
        assert response.status == 200


async def test_outputs_go_when_their_time_is_over_and_the_job_still_tells_of_them(
    api: Api, cleaner: Cleaner, database: Database, files: Files, files_folder: Path
) -> None:
    job = await _succeeded(api, database, files, attempts=1)
    async with database.connection() as connection:
        await connection.execute("UPDATE resources SET expires_at = now() - interval '2 hours'")

    await cleaner.clean()

    assert kept(files_folder) == []
    (image,) = (await api.job(str(job.id)))["successInfo"]["images"]
    assert image["expiredIn"] == "0"


async def test_a_file_that_cannot_be_deleted_keeps_its_row_and_no_other_from_going(
    api: Api, cleaner: Cleaner, database: Database, files: Files, files_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, _, _ = await api.upload(png())
    await api.upload(png())
    await age(database, 8)
    delete_folder = files.delete_folder

    async def stubborn(folder: str) -> None:
        if stuck in folder:
            raise Unavailable
        await delete_folder(folder)

    monkeypatch.setattr(files, "delete_folder", stubborn)
    await cleaner.clean()
    left = kept(files_folder)
    monkeypatch.undo()
    await cleaner.clean()

    assert left == [f"uploads/{stuck}"]
    assert kept(files_folder) == [] and await _count(database, "resources") == 0


async def test_what_cannot_be_deleted_is_passed_over_and_tried_again_later(
    api: Api, cleaner: Cleaner, database: Database, files: Files, files_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner_module, "BATCH", 2)
    stuck = {(await api.upload(png()))[0] for _ in range(3)}
    for _ in range(2):
        await api.upload(png())
    await age(database, 8)
    delete_folder = files.delete_folder

    async def stubborn(folder: str) -> None:
        if folder.removeprefix("uploads/") in stuck:
            raise Unavailable
        await delete_folder(folder)

    monkeypatch.setattr(files, "delete_folder", stubborn)
    await cleaner.clean()  # the first two, which stay
    await cleaner.clean()
    left = kept(files_folder)
    monkeypatch.setattr(files, "delete_folder", delete_folder)
    await cleaner.clean()

    assert left == sorted(f"uploads/{each}" for each in stuck)
    assert kept(files_folder) == [] and await _count(database, "resources") == 0


async def test_a_deletion_that_hangs_ends_and_no_transaction_is_open_meanwhile(
    api: Api, cleaner: Cleaner, database: Database, files: Files, files_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner_module, "DELETE_WITHIN_S", 0.2)
    hangs, _, _ = await api.upload(png())
    await api.upload(png())
    await age(database, 8)
    delete_folder, states = files.delete_folder, list[str]()

    async def hanging(folder: str) -> None:
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT state FROM pg_stat_activity WHERE datname = current_database()")
        states.extend(row["state"] for row in rows)
        if hangs in folder:
            await asyncio.Event().wait()
        await delete_folder(folder)

    monkeypatch.setattr(files, "delete_folder", hanging)
    await cleaner.clean()

    assert kept(files_folder) == [f"uploads/{hangs}"]
    assert "active" in states and "idle in transaction" not in states


async def test_a_crash_between_file_and_row_is_mended_by_the_next_round(
    api: Api, cleaner: Cleaner, database: Database, files: Files, files_folder: Path
) -> None:
    resource_id, _, _ = await api.upload(png())
    await age(database, 8)
    await files.delete_folder(f"uploads/{resource_id}")  # and then the process died

    await cleaner.clean()

    assert await _count(database, "resources") == 0


async def test_more_than_one_batch_goes_in_one_round(
    api: Api, cleaner: Cleaner, database: Database, files_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaner_module, "BATCH", 2)
    for _ in range(5):
        await api.upload(png())
    await age(database, 8)

    await cleaner.clean()

    assert kept(files_folder) == [] and await _count(database, "resources") == 0


async def test_many_cleaners_at_once_do_no_harm(api: Api, database: Database, files: Files, files_folder: Path) -> None:
    kept_id, _, _ = await api.upload(png())
    async with database.connection() as connection:
        await connection.execute("UPDATE resources SET expires_at = now() + interval '60 days'")
    for _ in range(3):
        await api.upload(png())
    await age(database, 8)

    await asyncio.gather(*(Cleaner(CleaningStore(database), files).clean() for _ in range(5)))

    assert kept(files_folder) == [f"uploads/{kept_id}"]


async def test_a_bucket_is_cleaned_as_a_folder_is(api: Api, database: Database, s3_endpoint: str) -> None:
    async with open_files(await new_bucket(s3_endpoint)) as files:
        job = await _succeeded(api, database, files, attempts=2)
        await age(database, 1.1)

        await Cleaner(CleaningStore(database), files).clean()

        assert await files.size(f"outputs/{job.id}/2/0.png") > 0
        with pytest.raises(Exception, match="no longer kept"):
            await files.size(f"outputs/{job.id}/1/0.png")


async def test_the_web_process_cleans_again_and_again_whatever_a_round_raises(
    options: WebOptions, database: Database, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[int] = []
    enough = asyncio.Event()

    class Failing(Cleaner):
        async def clean(self) -> None:
            rounds.append(1)
            if len(rounds) == 3:
                enough.set()
            raise Unavailable if len(rounds) == 1 else ValueError

    monkeypatch.setattr(orchestrator.app, "Cleaner", Failing)
    monkeypatch.setattr(cleaner_module, "EVERY", timedelta(milliseconds=1))
    async with open_app(options, database, redis), asyncio.timeout(30):
        await enough.wait()

    assert len(rounds) >= 3


async def _succeeded(api: Api, database: Database, files: Files, *, attempts: int) -> Job:
    """A job whose every attempt stored a picture, of which the last one counted."""
    _, answer = await api.post_job(body())
    jobs, job_id = JobStore(database), int(answer["job"]["id"])
    for attempt in range(1, attempts + 1):
        job = await one_job.claim(jobs, job_id, attempt, worker="w", lease=SHORT_TERM)
        assert job is not None
        key = f"outputs/{job_id}/{attempt}/0.png"
        await files.put(key, png())
        if attempt < attempts:
            await jobs.requeue(job_id, attempt, delay=SHORT_TERM * 0, reason="x")
    await one_job.succeed(jobs, job, [Image(id=uuid4(), key=key, format="png", width=64, height=48)])
    return job


async def _count(database: Database, table: str) -> int:
    async with database.connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))


async def test_what_stages_made_goes_when_it_has_not_been_used_for_long(
    cleaner: Cleaner, database: Database, files: Files, files_folder: Path, api: Api
) -> None:
    store, account_id = StageStore(database), (await AccountStore(database).ensure("tester")).id
    old, used = (StageOutput(account_id, address) for address in (b"old", b"used"))
    for each, kept_for in ((old, timedelta(seconds=-1)), (used, timedelta(hours=1))):
        await files.put(f"{each.folder}/0.png", png())
        await store.keep(each, {}, kept=kept_for)

    await cleaner.clean()

    assert kept(files_folder) == [used.folder]
    assert await store.find(account_id, [old.address, used.address], kept=timedelta(hours=1)) == {used.address: {}}


async def test_what_is_found_is_kept_for_longer(database: Database) -> None:
    store, account_id = StageStore(database), (await AccountStore(database).ensure("tester")).id
    await store.keep(StageOutput(account_id, b"x"), {}, kept=timedelta(seconds=0.5))

    assert await store.find(account_id, [b"x"], kept=timedelta(hours=1)) == {b"x": {}}
    await asyncio.sleep(0.6)

    assert await store.find(account_id, [b"x"], kept=timedelta(hours=1)) == {b"x": {}}


async def test_what_is_found_again_and_again_is_not_kept_for_ever(database: Database) -> None:
    store, account_id = StageStore(database), (await AccountStore(database).ensure("tester")).id
    hour, output = timedelta(hours=1), StageOutput(account_id, b"x")
    await store.keep(output, {}, kept=hour)
    left = []
    for hours_ago in (20, 23.5, 24.1):
        async with database.connection() as connection:
            await connection.execute(
                "UPDATE stage_outputs SET expires_at = now() + interval '1 second',"
                " canvas = jsonb_build_object('drawn_at', now() - $1 * interval '1 hour')",
                hours_ago,
            )
            await store.find(account_id, [b"x"], kept=hour)
            left.append(await connection.fetchval("SELECT extract(epoch FROM expires_at - now()) FROM stage_outputs"))

    assert [round(float(each) / 3600, 1) for each in left] == [1.0, 0.5, -0.1]
    assert await store.find(account_id, [b"x"], kept=hour) == {}
