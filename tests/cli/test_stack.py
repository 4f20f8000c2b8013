"""The stores of a local installation: which are started, and what becomes of one that dies."""

import argparse
import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from cli.__main__ import _parser
from cli.queue import knows_a_worker
from cli.stack import FOLDER, Stack, _environment, start_again
from embedded.errors import FolderInUse
from embedded.folder_lock import hold
from embedded.redis import EmbeddedRedis
from jobs.storage.outlook_board import WORKERS

ELSEWHERE = "postgresql://elsewhere/darkroom"


@pytest.fixture(autouse=True)
def database_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", ELSEWHERE)


def stack(*servers: EmbeddedRedis) -> Stack:
    return Stack(url="", api_key="", webhook_secret="", processes=[], servers=servers, environment={})


def test_a_store_that_dies_is_started_again_with_what_it_held(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as redis:
        redis.set("kept", "yes")
        assert list(start_again(stack(server))) == []
        os.kill(redis.info("server")["process_id"], signal.SIGKILL)  # type: ignore[index]
        while server.is_running:
            pass

        assert start_again(stack(server)) == ["Redis ended and was started again"]
        assert server.is_running and redis.get("kept") == b"yes"


def test_a_shell_that_has_read_the_env_file_still_starts_its_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", EmbeddedRedis(tmp_path).url)
    with ExitStack() as exits:
        environment, servers = _environment(tmp_path, 1, exits)

        assert [server.is_running for server in servers] == [True]
        assert environment["DATABASE_URL"] == ELSEWHERE


def test_other_stores_take_the_place_of_the_embedded_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    with ExitStack() as exits:
        environment, servers = _environment(tmp_path, 1, exits)

        assert (environment["REDIS_URL"], list(servers)) == ("redis://elsewhere", [])


@pytest.mark.parametrize(
    ("command", "folder"),
    [("up", FOLDER), ("demo", FOLDER), ("up --folder /srv/rooms", Path("/srv/rooms")), ("demo --folder here", None)],
)
def test_the_folder_of_all_data_may_be_chosen(command: str, folder: Path | None) -> None:
    assert _parser().parse_args(command.split()).folder == (folder or Path.cwd() / "here")


def test_a_folder_that_is_in_use_is_told_with_how_to_choose_another(tmp_path: Path) -> None:
    with hold(tmp_path / "redis.lock"), pytest.raises(FolderInUse) as refused:
        EmbeddedRedis(tmp_path).start()

    assert str(refused.value) == (
        f"{tmp_path} is in use by process {os.getpid()}: stop it first, or choose another with --folder."
    )


@pytest.mark.parametrize("command", ["up", "demo", "pause", "resume", "drain"])
def test_every_argument_says_what_it_is(command: str) -> None:
    (commands,) = [each for each in _parser()._actions if isinstance(each, argparse._SubParsersAction)]

    assert [each.dest for each in commands.choices[command]._actions if not each.help] == []


def test_choices_are_told_as_they_are_typed(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--family", "--kind"):
        with pytest.raises(SystemExit):
            _parser().parse_args(["models", "add", "x", "--name", "x", option, "x"])
        told = capsys.readouterr().err
        assert "Family." not in told and "Kind." not in told


def test_a_worker_is_known_once_it_has_told_of_itself(tmp_path: Path) -> None:
    assert not knows_a_worker("redis://127.0.0.1:1")
    with EmbeddedRedis(tmp_path) as server, Redis.from_url(server.url) as redis:
        assert not knows_a_worker(server.url)
        redis.hset(WORKERS, "one that died:1", "0 0 0 test 1a2b")
        assert not knows_a_worker(server.url)
        redis.hset(WORKERS, "one:1", f"{time.time()} 0 0 test 1a2b")
        assert knows_a_worker(server.url)
