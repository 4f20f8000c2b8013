"""What must be true when all is quiet again, whatever was killed: what the API answered is what happened."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import redis.asyncio

from jobs.storage.cleaning_store import CleaningStore
from jobs.storage.database import open_database
from jobs.storage.files import open_files
from jobs.storage.files_token import TOKEN_FILE
from jobs.storage.job_queue import ENTRIES
from orchestrator.cleaner import LEFTOVERS_GRACE, Cleaner
from tests.chaos.installation import Installation
from tests.chaos.load import Load

PNG = b"\x89PNG\r\n\x1a\n"


async def check(made: Installation, load: Load, http: aiohttp.ClientSession) -> None:
    # While a store is away requests are served, or told to come again soon.
    assert not load.answers[500], made.logged("request_failed")
    database = await asyncpg.connect(made.postgres.url)
    try:
        for job_id in load.accepted.values():
            await _check_job(http, database, load, job_id)
        await _check_account(database)
        assert await database.fetchval("SELECT count(*) FROM jobs") == len(load.accepted)
        await _check_queue(made)
        await _check_files(made, database)
    finally:
        await database.close()


async def _check_job(http: aiohttp.ClientSession, database: Any, load: Load, job_id: str) -> None:
    async with http.get(f"/v1/jobs/{job_id}") as response:
        job = (await response.json())["job"]
    kinds = [row["kind"] for row in await database.fetch("SELECT kind FROM job_events WHERE job_id = $1", int(job_id))]
    ends = [kind for kind in kinds if kind in ("SUCCESS", "FAILED", "CANCELED")]
    assert ends == ["CANCELED" if job_id in load.canceled else "SUCCESS"], (job, kinds)
    assert len(load.ended[job_id]) == 1, "one terminal callback, however often it is repeated"
    if job["status"] == "SUCCESS":
        (image,) = job["successInfo"]["images"]
        async with http.get(image["url"]) as response:
            assert (await response.read()).startswith(PNG)


async def _check_account(database: Any) -> None:
    account = await database.fetchrow("SELECT held, waiting, running, balance FROM accounts WHERE name = 'local'")
    assert (account["held"], account["waiting"], account["running"]) == (0, 0, 0), dict(account)
    assert account["balance"] == await database.fetchval("SELECT coalesce(sum(amount), 0) FROM ledger")
    charged = "SELECT coalesce(sum(credits), 0) FROM jobs WHERE status = 'SUCCESS'"
    assert -account["balance"] == await database.fetchval(charged)


async def _check_queue(made: Installation) -> None:
    async with redis.asyncio.from_url(made.redis.url) as connection:
        assert await connection.hlen(ENTRIES) == 0


async def _check_files(made: Installation, database: Any) -> None:
    """After the cleaner has come by, as it does a day later."""
    await database.execute("UPDATE jobs SET finished_at = finished_at - $1::interval", LEFTOVERS_GRACE + timedelta(1))
    async with open_database(made.postgres.url) as opened, open_files(made.files) as files:
        await Cleaner(CleaningStore(opened), files).clean()
    known = {row["key"] for row in await database.fetch("SELECT key FROM resources")}
    assert _kept(made.files) == known | {TOKEN_FILE}


def _kept(folder: Path) -> set[str]:
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
