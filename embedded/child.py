"""A child process whose life is bound to this one's, its output in a log file. It knows no server's particulars."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from embedded import linux
from embedded.errors import ServerFailed, WrongThread
from embedded.identity import Identity

log = structlog.get_logger(__name__)

POLL_INTERVAL_S = 0.01
LAST_LINES_BYTES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run: `command[0]` is an absolute path; the signal ends it cleanly; output is appended to the log."""

    name: str
    command: Sequence[str | Path]
    folder: Path
    log_file: Path
    stop_signal: signal.Signals
    identity: Identity


class Child:
    """A running program, to be used as a context manager: leaving it stops the program.

    If this process dies without leaving it, Linux sends the program its stop signal. Elsewhere it lives on, and the
    next start on its folder ends it (`embedded.orphan`). Raises WrongThread, or OSError and SubprocessError.
    """

    def __init__(self, program: Program, *, stop_allowance: timedelta) -> None:
        self._program = program
        self._stop_allowance = stop_allowance
        self._log_start = _size(program.log_file)
        self._process = _spawn(program)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, error_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def status(self) -> int | None:
        """As for subprocess: None while it runs, negative for the signal that ended it."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask it to end, and kill it when the allowance has passed. Does nothing if it has ended."""
        try:
            self._process.send_signal(self._program.stop_signal)
            self._process.wait(self._stop_allowance.total_seconds())
        except subprocess.TimeoutExpired:
            log.warning("embedded_server_killed", server=self._program.name, allowance=self._stop_allowance)
        finally:
            self._process.kill()
            self._process.wait()

    def wait_until_ready(self, is_ready: Callable[[], bool], allowance: timedelta) -> None:
        """Raises ServerFailed if it ends first, or if the allowance passes."""
        deadline = time.monotonic() + allowance.total_seconds()
        while not is_ready():
            if self.status is not None:
                raise self._failure(f"ended with status {self.status}")
            if time.monotonic() > deadline:
                raise self._failure(f"was not ready within {allowance}")
            time.sleep(POLL_INTERVAL_S)

    def wait_until_done(self, allowance: timedelta) -> None:
        """Raises ServerFailed if it does not succeed within the allowance."""
        try:
            status = self._process.wait(allowance.total_seconds())
        except subprocess.TimeoutExpired as error:
            raise self._failure(f"was not done within {allowance}") from error
        if status != 0:
            raise self._failure(f"ended with status {status}")

    def _failure(self, reason: str) -> ServerFailed:
        log_file = self._program.log_file
        written = log_file.read_bytes()[self._log_start :]
        last_lines = written[-LAST_LINES_BYTES:].decode(errors="replace").strip()
        return ServerFailed(self._program.name, reason, log_file, last_lines)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _spawn(program: Program) -> subprocess.Popen[bytes]:
    if threading.current_thread() is not threading.main_thread():
        raise WrongThread
    other = program.identity if program.identity.is_another_user else None
    with program.log_file.open("ab") as output:
        return subprocess.Popen(
            program.command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            # Nothing of ours leaks in: no PG* settings, no PATH on which another PostgreSQL may lie.
            env={"PATH": str(Path(program.command[0]).parent), "LC_ALL": "C", "HOME": str(program.folder)},
            start_new_session=True,  # Ctrl-C in our terminal must reach us alone: we stop the servers in order.
            user=other.user_id if other else None,
            group=other.group_id if other else None,
            extra_groups=[] if other else None,
            preexec_fn=_preparation(program, os.getpid()),
        )


def _preparation(program: Program, parent_id: int) -> Callable[[], None]:
    """What the child does after the change of user and before exec."""

    def prepare() -> None:
        if program.identity.seen_as is not None:
            linux.enter_user_namespace(program.identity.seen_as)
        os.chdir(program.folder)
        if sys.platform == "linux":
            linux.die_with_parent(program.stop_signal, parent_id)

    return prepare
