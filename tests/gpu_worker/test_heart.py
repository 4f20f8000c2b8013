"""The heart keeps a lease while its worker's loop does not turn, and ends with it."""

import asyncio
import os
import signal
import sys
import textwrap
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from embedded import Servers
from gpu_worker.heart.client import Heart, open_heart
from jobs.errors import AttemptLost
from tests import one_job
from tests.gpu_worker.conftest import LEASE, Bench
from tests.until import until

HUNG_AFTER_S = 3


# A heart of the tests themselves keeps the minute that is the default: one that was impatient would end the test run.
@pytest.fixture
def environment(servers: Servers, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", servers.redis_url)
    monkeypatch.setenv("DARKROOM_SECRET", "a secret of the tests")
    monkeypatch.setenv("DARKROOM_LEASE", str(LEASE.total_seconds()))


@pytest.fixture
async def heart(environment: None) -> AsyncIterator[Heart]:
    async with open_heart() as opened:
        yield opened


@pytest.fixture
async def job_id(bench: Bench) -> int:
    """Of a job that is claimed for longer than a heart needs to start."""
    job_id = await bench.accept()
    assert await one_job.claim(bench.jobs, job_id, 1, worker="test:1", lease=timedelta(seconds=30))
    return job_id


async def _lease_left(bench: Bench, job_id: int) -> timedelta:
    async with bench.database.connection() as connection:
        left = "SELECT lease_expires_at - now() FROM jobs WHERE id = $1"
        return await connection.fetchval(left, job_id)  # type: ignore[no-any-return]


async def _is_kept(bench: Bench, job_id: int) -> bool:
    return timedelta(0) < await _lease_left(bench, job_id) <= LEASE


async def test_the_lease_is_kept_while_the_loop_stands_still(heart: Heart, bench: Bench, job_id: int) -> None:
    keeping = asyncio.create_task(heart.keep(job_id, 1))
    await until(lambda: _is_kept(bench, job_id))

    time.sleep(2 * LEASE.total_seconds())  # noqa: ASYNC251

    assert await _is_kept(bench, job_id)
    keeping.cancel()


async def test_a_lease_that_is_dropped_lapses(heart: Heart, bench: Bench, job_id: int) -> None:
    keeping = asyncio.create_task(heart.keep(job_id, 1))
    await until(lambda: _is_kept(bench, job_id))

    keeping.cancel()
    await asyncio.sleep(1.5 * LEASE.total_seconds())

    assert await _lease_left(bench, job_id) < timedelta(0)


async def test_the_heart_tells_of_an_attempt_that_is_lost(heart: Heart, bench: Bench, job_id: int) -> None:
    keeping = asyncio.create_task(heart.keep(job_id, 1))
    await bench.jobs.cancel(bench.account_id, job_id)

    with pytest.raises(AttemptLost):
        await asyncio.wait_for(keeping, 10)
    assert not heart.has_stopped.is_set()


async def test_with_a_dead_heart_all_is_lost(heart: Heart, bench: Bench, job_id: int) -> None:
    keeping = asyncio.create_task(heart.keep(job_id, 1))
    await until(lambda: _is_kept(bench, job_id))

    heart._process.kill()

    with pytest.raises(AttemptLost):
        await asyncio.wait_for(keeping, 10)
    await asyncio.wait_for(heart.has_stopped.wait(), 10)
    with pytest.raises(AttemptLost):
        await heart.keep(job_id, 1)


async def _worker(then: str) -> asyncio.subprocess.Process:
    """A process with a heart, which tells the heart's id and then does what the test says."""
    script = f"""
        import asyncio, time
        from gpu_worker.heart.client import open_heart

        async def main():
            async with open_heart() as heart:
                await asyncio.sleep(2)
                print(heart._process.pid, flush=True)
                {then}

        asyncio.run(main())
    """
    environment = os.environ | {"DARKROOM_HUNG_AFTER": str(HUNG_AFTER_S)}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(script), stdout=asyncio.subprocess.PIPE, env=environment
    )


async def _heart_of(worker: asyncio.subprocess.Process) -> int:
    assert worker.stdout is not None
    return int(await asyncio.wait_for(worker.stdout.readline(), 30))


def _lives(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


async def _until_gone(process_id: int) -> None:
    async def gone() -> bool:
        return not _lives(process_id)

    await until(gone)


async def test_a_hung_worker_is_ended_by_its_heart(environment: None) -> None:
    worker = await _worker("time.sleep(60)")
    heart = await _heart_of(worker)

    assert await asyncio.wait_for(worker.wait(), 10) == -signal.SIGKILL
    await _until_gone(heart)


async def test_a_worker_whose_loop_turns_lives_longer_than_that(environment: None) -> None:
    worker = await _worker(f"await asyncio.sleep({2 * HUNG_AFTER_S})")
    heart = await _heart_of(worker)

    assert await asyncio.wait_for(worker.wait(), 30) == 0
    await _until_gone(heart)


async def test_the_heart_ends_with_a_worker_that_is_killed(environment: None, bench: Bench, job_id: int) -> None:
    worker = await _worker(f"asyncio.create_task(heart.keep({job_id}, 1)); await asyncio.sleep(60)")
    heart = await _heart_of(worker)
    await until(lambda: _is_kept(bench, job_id))

    # As whoever ends the whole group does first: the heart goes on for the worker's sake.
    os.kill(heart, signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert _lives(heart)
    worker.kill()

    await _until_gone(heart)


async def test_a_killed_worker_s_lease_lapses_at_once(environment: None, bench: Bench, job_id: int) -> None:
    worker = await _worker(f"asyncio.create_task(heart.keep({job_id}, 1)); await asyncio.sleep(60)")
    heart = await _heart_of(worker)
    await until(lambda: _is_kept(bench, job_id))
    await bench.execute("UPDATE jobs SET lease_expires_at = now() + interval '1 hour'")

    worker.kill()

    await _until_gone(heart)
    assert await _lease_left(bench, job_id) <= timedelta(0)


async def test_a_worker_that_has_dropped_its_attempt_leaves_it_as_it_is(
    environment: None, bench: Bench, job_id: int
) -> None:
    worker = await _worker(
        f"keeping = asyncio.create_task(heart.keep({job_id}, 1)); await asyncio.sleep(0.05); keeping.cancel(); "
        "await asyncio.sleep(0.3)"
    )
    heart = await _heart_of(worker)
    assert await asyncio.wait_for(worker.wait(), 30) == 0
    await _until_gone(heart)

    assert await _lease_left(bench, job_id) > timedelta(0)


async def test_a_worker_that_slept_together_with_its_heart_lives_on(environment: None) -> None:
    worker = await _worker("await asyncio.sleep(60)")
    heart = await _heart_of(worker)

    for process in (worker.pid, heart):
        os.kill(process, signal.SIGSTOP)
    await asyncio.sleep(HUNG_AFTER_S + 2)
    # The one that might be killed wakes up last.
    os.kill(heart, signal.SIGCONT)
    await asyncio.sleep(0.3)
    os.kill(worker.pid, signal.SIGCONT)
    await asyncio.sleep(1)

    assert worker.returncode is None and _lives(heart)
    worker.kill()
    await worker.wait()
    await _until_gone(heart)
