"""Where a server's unix socket lies. Who may enter that folder is all the access control that the servers have."""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

from embedded.errors import FolderRefused
from embedded.identity import Identity, give

# A socket's path has at most 103 bytes on macOS (107 on Linux), and this is the longer of our two sockets' names.
LONGEST_FOLDER_BYTES = 103 - len("/.s.PGSQL.5432")


def socket_folder(folder: Path, server: str) -> Path:
    """`folder`/`server`.socket; where that is too long, a short one in the temporary folder.

    The short one's name is made of this user's id and of `folder`, so that the next start finds the same.
    """
    beside = folder / f"{server}.socket"
    if _is_short(beside):
        return beside
    digest = sha256(f"{os.geteuid()}:{folder}".encode()).hexdigest()[:16]
    short = Path(tempfile.gettempdir(), f"darkroom-{digest}-{server}")
    return short if _is_short(short) else Path("/tmp", short.name)


@contextmanager
def private_folder(folder: Path, identity: Identity) -> Iterator[None]:
    """Have it exist while inside, entered by `identity` and root alone.

    Raises FolderRefused if someone else made it: the temporary folder is open to all.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (os.geteuid(), identity.user_id):
        raise FolderRefused(folder, status.st_uid)
    give(folder, identity)
    folder.chmod(0o700)
    try:
        yield
    finally:
        with suppress(OSError):  # A server that had to be killed left its socket; the next start clears it.
            folder.rmdir()


def _is_short(folder: Path) -> bool:
    return len(os.fsencode(folder)) <= LONGEST_FOLDER_BYTES
