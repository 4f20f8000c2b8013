"""The right of one process to run a server on a folder. It guards against no process on another machine."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embedded.errors import FolderInUse, FolderRefused


@contextmanager
def hold(lock_file: Path) -> Iterator[None]:
    """Hold the lock while inside. Raises FolderInUse if another start holds it, in this process or in another;
    FolderRefused if this user may not write there.

    The kernel releases the lock when the owner dies, however that happens; a child that this process only forks
    (no exec) shares it until it ends. The file stays: removing it would let two hold two files of one name.
    """
    descriptor = _open(lock_file)
    try:
        _lock(descriptor, lock_file)
        _write(descriptor, str(os.getpid()))
        try:
            yield
        finally:
            _write(descriptor, "")
            fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _open(lock_file: Path) -> int:
    try:
        return os.open(lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise FolderRefused(lock_file.parent, lock_file.parent.stat().st_uid) from error


def _lock(descriptor: int, lock_file: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        owner = os.read(descriptor, 20).decode()
        raise FolderInUse(lock_file.parent, int(owner) if owner.isdigit() else None) from error


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
