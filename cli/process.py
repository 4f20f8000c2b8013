"""One of Darkroom's three processes as a child, its log in a file. It does not know what they do."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from embedded import linux

STOP_WITHIN_S = 30
LAST_LINES_BYTES = 2000


class Process:
    """`module` is run with `python -m`. If we die, Linux asks it to stop."""

    def __init__(self, module: str, environment: Mapping[str, str], log_folder: Path) -> None:
        log_folder.mkdir(parents=True, exist_ok=True)
        self._environment = environment
        self._started_at = time.monotonic()
        self.module = module
        self.log_file = log_folder / f"{module}.log"
        parent_id = os.getpid()

        def prepare() -> None:
            if sys.platform == "linux":
                linux.die_with_parent(signal.SIGTERM, parent_id)

        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone, and we stop the processes in order
                preexec_fn=prepare,
            )

    @property
    def process_id(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self.exit_code is None

    @property
    def exit_code(self) -> int | None:
        """As for subprocess: None while it runs, negative for the signal that ended it."""
        return self._process.poll()

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    def again(self) -> "Process":
        """The same program, started anew."""
        return Process(self.module, self._environment, self.log_file.parent)

    def last_lines(self) -> str:
        return self.log_file.read_bytes()[-LAST_LINES_BYTES:].decode(errors="replace")

    def ask_to_stop(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def wait(self, seconds: float) -> None:
        try:
            self._process.wait(max(seconds, 0))
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running(modules: Sequence[str], environment: Mapping[str, str], log_folder: Path) -> Iterator[list[Process]]:
    """Stops all of them at once on leaving, and kills what has not ended 30 s later."""
    processes: list[Process] = []
    try:
        for module in modules:
            processes.append(Process(module, environment, log_folder))
        yield processes
    finally:
        for process in processes:
            process.ask_to_stop()
        deadline = time.monotonic() + STOP_WITHIN_S
        for process in processes:
            process.wait(deadline - time.monotonic())
