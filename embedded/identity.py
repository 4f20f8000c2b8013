"""As whom a server's process runs. It changes no user of this process, and adds none to the machine."""

import os
import pwd
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from embedded.errors import FolderRefused

ROOT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Ids as files and signals see them, and the id that the process sees itself, if in a namespace of its own."""

    user_id: int
    group_id: int
    seen_as: int | None = None

    @classmethod
    def current(cls, *, seen_as: int | None = None) -> Self:
        return cls(user_id=os.geteuid(), group_id=os.getegid(), seen_as=seen_as)

    @property
    def is_another_user(self) -> bool:
        return self.user_id != os.geteuid()


def unprivileged_identities() -> Iterator[Identity]:
    """Those as whom PostgreSQL may agree to run, best first: it refuses root, and initdb who has no passwd entry.

    A namespace comes after 'nobody', as many containers forbid it; 'nobody' cannot pass through private folders.
    """
    if os.geteuid() != ROOT and _is_in_passwd(os.geteuid()):
        yield Identity.current()
        return
    nobody = _nobody()
    if nobody is not None and os.geteuid() == ROOT:
        yield Identity(user_id=nobody.pw_uid, group_id=nobody.pw_gid)
    if nobody is not None and sys.platform == "linux":
        yield Identity.current(seen_as=nobody.pw_uid)


def give(folder: Path, identity: Identity) -> None:
    """Make `identity` the owner of a tree. Raises FolderRefused if it is another's and this process is not root."""
    owner_id = folder.stat().st_uid
    if owner_id == identity.user_id:
        return
    if os.geteuid() != ROOT:
        raise FolderRefused(folder, owner_id)
    # From the leaves up: if we are killed on the way, the top still shows that it is not done.
    for inner, _, files in os.walk(folder, topdown=False):
        for path in (*(os.path.join(inner, name) for name in files), inner):
            os.chown(path, identity.user_id, identity.group_id, follow_symlinks=False)


def _is_in_passwd(user_id: int) -> bool:
    try:
        pwd.getpwuid(user_id)
    except KeyError:
        return False
    return True


def _nobody() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        return None
