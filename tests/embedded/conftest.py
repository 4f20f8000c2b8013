"""What the tests of the embedded servers share: a folder, and other processes that own one."""

import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from embedded.orphan import stop_orphan

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Open to user 'nobody', which pytest's own folders are not: as root, PostgreSQL then runs in any container."""
    path = Path(tempfile.mkdtemp(prefix="darkroom-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def start_owner(folder: Path) -> Iterator[Callable[[str], "subprocess.Popen[str]"]]:
    """Run Python code, given the folder, in another process that is ended with the test; return when it says ready."""
    owners: list[subprocess.Popen[str]] = []

    def start(code: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", textwrap.dedent(code), str(folder)]
        owner = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        owners.append(owner)
        assert owner.stdout is not None
        assert "ready\n" in iter(owner.stdout.readline, ""), "the owner ended before it was ready"
        return owner

    yield start
    for owner in owners:
        owner.send_signal(signal.SIGINT)
        owner.communicate()
    for name in ("postgres.socket/.s.PGSQL.5432", "redis.socket/redis.sock"):
        stop_orphan(folder / name, signal.SIGTERM, timedelta(seconds=10))
