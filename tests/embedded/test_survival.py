"""Data and starts after an end that nobody announced."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest
import redis.asyncio as redis

from embedded import Servers, embedded_servers
from embedded.orphan import listener_id
from embedded.postgres import EmbeddedPostgres
from embedded.redis import EmbeddedRedis

StartOwner = Callable[[str], "subprocess.Popen[str]"]

RUN_SERVERS = """
    import sys, time
    from pathlib import Path
    from embedded import embedded_servers

    with embedded_servers(Path(sys.argv[1]), fast=True):
        print("ready", flush=True)
        time.sleep(60)
"""
# What happens where the kernel has no signal for a parent's death.
RUN_SERVERS_UNBOUND = f"""
    from embedded import linux
    linux.die_with_parent = lambda *_: None
    {RUN_SERVERS}
"""
MAKE_DATA_FOREVER = """
    import signal, sys
    from datetime import timedelta
    from pathlib import Path
    from embedded.child import Child
    from embedded.postgres import EmbeddedPostgres

    finish = Child.wait_until_done
    def wait_until_done(child, allowance):
        finish(child, allowance)
        if any(Path(sys.argv[1]).glob("*/PG_VERSION")):
            print("ready", flush=True)
            signal.pause()

    Child.wait_until_done = wait_until_done
    EmbeddedPostgres(Path(sys.argv[1]), fast=True).start()
"""

BUSY_FOR_A_SECOND = """
    DO $$
    DECLARE finish timestamptz := clock_timestamp() + interval '1 second';
    BEGIN
        RAISE NOTICE 'began';
        WHILE clock_timestamp() < finish LOOP END LOOP;
    END $$
"""


def redis_client(url: str) -> redis.Redis:
    return redis.from_url(url)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]


def postgres_id(folder: Path) -> int:
    return int((folder / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def redis_id(folder: Path) -> int:
    return listener_id(folder / "redis.socket" / "redis.sock") or 0


def log_of(folder: Path) -> str:
    return (folder / "postgres.log").read_text()


def is_alive(process_id: int) -> bool:
    """A zombie is dead: in a container nobody may ever reap it."""
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process_id}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def all_end_within(process_ids: list[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_alive, process_ids)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


async def remember(servers: Servers) -> None:
    connection = await asyncpg.connect(servers.database_url)
    await connection.execute("CREATE TABLE memory AS SELECT 42 AS answer")
    await connection.close()
    async with redis_client(servers.redis_url) as client:
        await client.set("answer", 42)


async def recall(servers: Servers) -> tuple[int, int]:
    connection = await asyncpg.connect(servers.database_url)
    answer = await connection.fetchval("SELECT answer FROM memory")
    await connection.close()
    async with redis_client(servers.redis_url) as client:
        return answer, int(await client.get("answer"))


async def test_data_survives_a_stop(folder: Path) -> None:
    with embedded_servers(folder) as servers:
        await remember(servers)

    with embedded_servers(folder) as servers:
        remembered = await recall(servers)

    assert remembered == (42, 42)


async def test_committed_rows_survive_a_killed_postgres_with_clients(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    client = await asyncpg.connect(server.url)
    await client.execute("CREATE TABLE memory AS SELECT 42 AS answer")
    os.kill(postgres_id(folder), signal.SIGKILL)
    server.stop()

    with server:
        other = await asyncpg.connect(server.url)
        answer = await other.fetchval("SELECT answer FROM memory")
        await other.close()

    assert answer == 42
    client.terminate()


async def test_start_waits_for_a_query_that_outlives_a_killed_postgres(folder: Path) -> None:
    server = EmbeddedPostgres(folder, fast=True)
    server.start()
    client = await asyncpg.connect(server.url)
    # Raised from inside the loop, so that it is known to run: nothing in it looks whether the server lives.
    began = asyncio.Event()
    client.add_log_listener(lambda *_: began.set())
    query = asyncio.create_task(client.execute(BUSY_FOR_A_SECOND))
    await began.wait()
    os.kill(postgres_id(folder), signal.SIGKILL)
    server.stop()

    with server:
        other = await asyncpg.connect(server.url)
        await other.close()

    assert "pre-existing shared memory block" in log_of(folder)
    await asyncio.wait([query])


async def test_keys_survive_a_killed_redis(folder: Path) -> None:
    server = EmbeddedRedis(folder)
    server.start()
    async with redis_client(server.url) as client:
        await client.set("answer", 42)
    os.kill(redis_id(folder), signal.SIGKILL)
    server.stop()

    with server:
        async with redis_client(server.url) as client:
            answer = await client.get("answer")

    assert answer == b"42"


@pytest.mark.skipif(sys.platform != "linux", reason="needs the kernel's signal for a parent's death")
async def test_servers_end_with_their_killed_owner(folder: Path, start_owner: StartOwner) -> None:
    owner = start_owner(RUN_SERVERS)
    servers = Servers(database_url=EmbeddedPostgres(folder).url, redis_url=EmbeddedRedis(folder).url)
    await remember(servers)
    process_ids = [postgres_id(folder), redis_id(folder)]

    owner.kill()
    owner.wait()

    assert all_end_within(process_ids, seconds=10)
    with embedded_servers(folder, fast=True) as servers:
        assert await recall(servers) == (42, 42)


async def test_start_right_after_the_owner_was_killed(folder: Path, start_owner: StartOwner) -> None:
    owner = start_owner(RUN_SERVERS)
    await remember(Servers(database_url=EmbeddedPostgres(folder).url, redis_url=EmbeddedRedis(folder).url))
    owner.kill()
    owner.wait()

    with embedded_servers(folder, fast=True) as servers:
        remembered = await recall(servers)

    assert remembered == (42, 42)


async def test_orphans_are_ended_and_replaced(folder: Path, start_owner: StartOwner) -> None:
    owner = start_owner(RUN_SERVERS_UNBOUND)
    await remember(Servers(database_url=EmbeddedPostgres(folder).url, redis_url=EmbeddedRedis(folder).url))
    orphans = [postgres_id(folder), redis_id(folder)]
    owner.kill()
    owner.wait()
    assert all(map(is_alive, orphans))

    with embedded_servers(folder, fast=True) as servers:
        remembered = await recall(servers)

        assert remembered == (42, 42)
        assert all_end_within(orphans, seconds=10)
        assert {postgres_id(folder), redis_id(folder)}.isdisjoint(orphans)


async def test_pid_file_that_names_a_stranger_does_not_prevent_a_start(folder: Path) -> None:
    server = EmbeddedPostgres(folder, fast=True)
    pid_file = folder / "postgres" / "postmaster.pid"
    with server:
        old, stale, user_id = postgres_id(folder), pid_file.read_text(), pid_file.stat().st_uid

    with stranger_of(user_id) as stranger_id:
        pid_file.write_text(stale.replace(str(old), str(stranger_id), 1))
        os.chown(pid_file, user_id, -1)
        with server:
            new = postgres_id(folder)
            connection = await asyncpg.connect(server.url)
            await connection.close()

    assert new != stranger_id


@contextmanager
def stranger_of(user_id: int) -> Iterator[int]:
    """Of the server's user, as PostgreSQL takes no notice of others."""
    with subprocess.Popen(["sleep", "60"], user=user_id if os.geteuid() == 0 else None) as stranger:
        try:
            yield stranger.pid
        finally:
            stranger.kill()


def test_initdb_that_was_killed_leaves_nothing_half_made(folder: Path, start_owner: StartOwner) -> None:
    owner = start_owner(MAKE_DATA_FOREVER)
    owner.kill()
    owner.wait()
    assert not (folder / "postgres").exists()
    assert len(list(folder.glob("postgres.half-made.*"))) == 1

    with EmbeddedPostgres(folder, fast=True):
        pass

    assert (folder / "postgres" / "PG_VERSION").exists()
    assert list(folder.glob("postgres.half-made.*")) == []
