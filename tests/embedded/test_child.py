import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from embedded.child import Child, Program
from embedded.errors import ServerFailed, WrongThread
from embedded.identity import Identity

LONG = timedelta(seconds=20)
SHORT = timedelta(seconds=0.2)


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], Program]:
    def make(script: str) -> Program:
        return Program(
            name="script",
            command=["/bin/sh", "-c", script],
            folder=tmp_path,
            log_file=tmp_path / "script.log",
            stop_signal=signal.SIGTERM,
            identity=Identity.current(),
        )

    return make


def is_written(file: Path) -> Callable[[], bool]:
    return lambda: file.exists() and file.read_text() != ""


def test_child_that_ends_early_is_reported_with_what_this_run_wrote(
    program: Callable[[str], Program], tmp_path: Path
) -> None:
    (tmp_path / "script.log").write_text("of an earlier run\n")

    with (
        Child(program("echo no room >&2; exit 3"), stop_allowance=LONG) as child,
        pytest.raises(ServerFailed, match="ended with status 3") as failure,
    ):
        child.wait_until_ready(lambda: False, LONG)

    assert failure.value.last_lines == "no room"


def test_child_that_hangs_is_reported(program: Callable[[str], Program]) -> None:
    with (
        Child(program("exec /bin/sleep 60"), stop_allowance=LONG) as child,
        pytest.raises(ServerFailed, match="not ready within"),
    ):
        child.wait_until_ready(lambda: False, SHORT)


def test_child_that_ignores_its_stop_signal_is_killed(program: Callable[[str], Program], tmp_path: Path) -> None:
    child = Child(program("trap '' TERM; echo deaf; exec /bin/sleep 60"), stop_allowance=SHORT)
    child.wait_until_ready(is_written(tmp_path / "script.log"), LONG)

    child.stop()

    assert child.status == -signal.SIGKILL


def test_child_is_stopped_by_its_signal(program: Callable[[str], Program], tmp_path: Path) -> None:
    child = Child(program("trap 'exit 7' TERM; echo up; while :; do /bin/sleep 0.05; done"), stop_allowance=LONG)
    child.wait_until_ready(is_written(tmp_path / "script.log"), LONG)

    child.stop()

    assert child.status == 7


def test_child_sees_none_of_our_environment(
    program: Callable[[str], Program], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGDATA", "/elsewhere")

    with Child(program("echo [$PGDATA]"), stop_allowance=LONG) as child:
        child.wait_until_done(LONG)

    assert (tmp_path / "script.log").read_text() == "[]\n"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with a thread")
def test_child_is_not_started_from_another_thread(program: Callable[[str], Program]) -> None:
    errors: list[Exception] = []

    def start() -> None:
        try:
            Child(program("exit 0"), stop_allowance=LONG).stop()
        except WrongThread as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()

    assert len(errors) == 1
