"""Two calls that only Linux has, both made in a child between fork and exec. It decides nothing about when."""

import ctypes
import os
import signal
from pathlib import Path

PR_SET_PDEATHSIG = 1  # linux/prctl.h
CLONE_NEWUSER = 0x10000000  # linux/sched.h

# Loaded here and not in the child: after fork, another thread's lock on the loader would never be released.
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(death_signal: signal.Signals, parent_id: int) -> None:
    """Have the kernel send `death_signal` to this process when the *thread* that forked it ends.

    Call it last: a change of user or of capabilities forgets it. It outlives exec of an ordinary binary.
    """
    if _libc.prctl(PR_SET_PDEATHSIG, death_signal.value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent_id:
        # It died before we asked, so no signal will come.
        os._exit(1)


def enter_user_namespace(seen_as: int) -> None:
    """See this process as user and group `seen_as`; for files and signals it stays who it is.

    Raises OSError where the kernel, a container or a security module forbids it.
    Source: user_namespaces(7): one line that maps one's own id needs no privilege once setgroups is denied.
    """
    user_id, group_id = os.geteuid(), os.getegid()
    if _libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWUSER)")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{seen_as} {user_id} 1")
    Path("/proc/self/gid_map").write_text(f"{seen_as} {group_id} 1")
