"""A process that cannot start says why in a sentence, and its logs are for who reads them."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from config.settings import ModelSettings, Settings
from config.starting import (
    WrongSettings,
    catalog_of,
    check_files,
    ending_in_words,
    rates_of,
    read_settings,
    warn_of_unknown_settings,
)
from embedded import Servers
from jobs.errors import Unavailable
from tests.config.needed import NEEDED


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("DARKROOM_")]:
        monkeypatch.delenv(name)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", None, "DATABASE_URL is not set"),
        ("DATABASE_URL", "mysql://me:hush@db", "DATABASE_URL must begin with postgres:// or postgresql://"),
        ("REDIS_URL", "", "REDIS_URL must begin with redis:// or rediss:// or unix://"),
        ("DARKROOM_SECRET", "short", "DARKROOM_SECRET must have 16 characters or more"),
        ("PORT", "many", "PORT: input should be a valid integer, unable to parse string as an integer"),
        ("DARKROOM_LEASE", "0", "DARKROOM_LEASE must be over 0 seconds"),
        ("DARKROOM_HUNG_AFTER", "1", "DARKROOM_HUNG_AFTER must be at least 3 seconds"),
        ("DARKROOM_MAX_ATTEMPTS", "0", "DARKROOM_MAX_ATTEMPTS: input should be greater than 0"),
        (
            "DARKROOM_EGRESS_ALLOW",
            "10.0.0.0/8,here",
            "DARKROOM_EGRESS_ALLOW must be networks like 10.0.0.0/8:"
            " 'here' does not appear to be an IPv4 or IPv6 network",
        ),
        (
            "DARKROOM_FAMILIES",
            "SD15,SDXLL,Q",
            "DARKROOM_FAMILIES names no family with 'SDXLL' (did you mean 'SDXL'?); DARKROOM_FAMILIES names no family"
            " with 'Q' (there are 'SD15', 'SD2', 'SDXL', 'SD3', 'FLUX' and 'ANY')",
        ),
        (
            "DARKROOM_STAGES",
            "INPUT_INITIALIZE,DIFUSION",
            "DARKROOM_STAGES names no stage with 'DIFUSION' (did you mean 'DIFFUSION'?)",
        ),
        ("DARKROOM_POOL", "large one", "DARKROOM_POOL must be at most 64 letters, digits, '_', '.' and '-'"),
        ("DARKROOM_FILES", "s3", "DARKROOM_S3_BUCKET is needed with DARKROOM_FILES=s3"),
    ],
)
def test_a_wrong_setting_is_told_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str | None, said: str
) -> None:
    monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)

    with pytest.raises(WrongSettings) as wrong:
        read_settings(Settings)

    assert str(wrong.value) == said


@pytest.mark.parametrize(
    "address",
    ["foo", "foo.example", "ftp://foo.example", "https://", "https://a.example/?key=1", "https://a.example:x"],
)
def test_a_public_address_that_no_client_could_follow_is_refused(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("DARKROOM_PUBLIC_URL", address)

    with pytest.raises(WrongSettings, match=r"^DARKROOM_PUBLIC_URL must be an address like https://images\.example"):
        read_settings(Settings)


def test_a_variable_that_is_no_setting_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_STAGE", "DIFFUSION")
    monkeypatch.setenv("DARKROOM_ROUNDS", "3")  # a test's own
    monkeypatch.setenv("DARKROOM_URL", "http://127.0.0.1:8080")  # a client's
    monkeypatch.setenv("DARKROOM_LEASE", "5")

    with structlog.testing.capture_logs() as logs:
        warn_of_unknown_settings()

    warned = {each["name"]: each["meant"] for each in logs if each["log_level"] == "warning"}
    assert warned.keys() == {"DARKROOM_STAGE", "DARKROOM_ROUNDS"}
    assert warned["DARKROOM_STAGE"].startswith("did you mean 'DARKROOM_STAGES'")
    assert warned["DARKROOM_ROUNDS"] == "none is spelled like it"


def test_all_that_is_wrong_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("PORT", "70000")

    with pytest.raises(WrongSettings, match=r"^DATABASE_URL is not set; PORT: "):
        read_settings(Settings)


def test_a_file_that_is_not_there_or_wrong_is_told_with_its_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "wrong.toml").write_text("= 7")
    for name, read in (("DARKROOM_CATALOG_FILE", catalog_of), ("DARKROOM_CREDITS_FILE", rates_of)):
        for file in ("absent.toml", "wrong.toml"):
            monkeypatch.setenv(name, str(tmp_path / file))
            with pytest.raises(WrongSettings, match=f"^{name}: .*{file}"):
                read(read_settings(Settings))
        monkeypatch.delenv(name)


def test_the_catalogue_needs_no_other_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NEEDED:
        monkeypatch.delenv(name)

    assert catalog_of(read_settings(ModelSettings)).models


@pytest.mark.parametrize(
    ("error", "status"), [(WrongSettings("it is so"), 2), (Unavailable("it is so"), 1), (KeyboardInterrupt(), 130)]
)
def test_an_end_is_a_sentence_and_a_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    with pytest.raises(SystemExit) as end, ending_in_words("web"):
        raise error

    assert end.value.code == status
    assert capsys.readouterr().err in ("darkroom web: it is so\n", "darkroom web: stopped\n")


async def run(*command: str, **environment: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *command), env={**os.environ, **environment}, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    return process.returncode, errors.decode()


@pytest.mark.parametrize("module", ["orchestrator", "webhooks", "gpu_worker"])
async def test_each_process_ends_with_that_sentence(module: str) -> None:
    status, errors = await run(module, REDIS_URL="here")

    assert status == 2
    assert errors.splitlines()[-1].endswith(": REDIS_URL must begin with redis:// or rediss:// or unix://")
    assert "Traceback" not in errors


@pytest.mark.parametrize(
    ("command", "changed", "said"),
    [
        ("queue", {"REDIS_URL": "here"}, "REDIS_URL must begin with"),
        ("keys list", {"DATABASE_URL": "here"}, "DATABASE_URL must begin with"),
        ("models list", {"DARKROOM_CATALOG_FILE": "absent.toml"}, "DARKROOM_CATALOG_FILE: "),
    ],
)
async def test_the_command_does_too(command: str, changed: dict[str, str], said: str) -> None:
    status, errors = await run("cli", *command.split(), **changed)

    assert (status, errors.count("\n")) == (2, 1)
    assert errors.startswith(f"darkroom: {said}")


@pytest.fixture
def stores(servers: Servers, database_url: str, tmp_path: Path) -> dict[str, str]:
    return {
        "DATABASE_URL": database_url,
        "REDIS_URL": servers.redis_url,
        "DARKROOM_FILES_FOLDER": str(tmp_path / "files"),
    }


async def test_an_address_that_is_taken_is_told_with_its_settings(stores: dict[str, str]) -> None:
    listening = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]

    async with listening:
        status, errors = await run("orchestrator", PORT=str(port), **stores)

    assert status == 2
    assert errors.splitlines()[-1].startswith("darkroom web: DARKROOM_HOST and PORT: nothing can listen there: ")


async def test_a_place_for_files_that_is_not_the_installations_ends_who_would_use_it(
    stores: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in stores.items():
        monkeypatch.setenv(name, value)
    await check_files(read_settings(Settings))
    token = (tmp_path / "files" / "installation").read_text()
    elsewhere = tmp_path / "elsewhere"

    for module, process in (("gpu_worker", "worker"), ("orchestrator", "web")):
        status, errors = await run(module, DARKROOM_FILES_FOLDER=str(elsewhere))

        assert (status, errors.splitlines()[-1]) == (
            2,
            f"darkroom {process}: DARKROOM_FILES_FOLDER={elsewhere} is not where this installation keeps its pictures;"
            f" there, the file 'installation' holds {token}",
        )
    assert not elsewhere.exists()


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_folder_that_cannot_be_written_is_told_with_its_setting(
    stores: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_new: bool
) -> None:
    for name, value in stores.items():
        monkeypatch.setenv(name, value)
    if is_new:
        monkeypatch.setenv("DARKROOM_FILES_FOLDER", "/proc/x")
    else:
        await check_files(read_settings(Settings))
        (tmp_path / "file").touch()
        monkeypatch.setenv("DARKROOM_FILES_FOLDER", str(tmp_path / "file"))

    with pytest.raises(WrongSettings, match=r"^DARKROOM_FILES_FOLDER=/.*: nothing can be kept there: "):
        await check_files(read_settings(Settings))


async def test_a_bucket_that_is_away_is_told_with_its_setting(
    stores: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = {"_BUCKET": "pictures", "_ENDPOINT": "http://127.0.0.1:1", "_ACCESS_KEY": "key", "_SECRET_KEY": "hush"}
    s3 = {"DARKROOM_FILES": "s3", **{f"DARKROOM_S3{name}": value for name, value in bucket.items()}}
    for name, value in (stores | s3).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(Unavailable, match=r"^DARKROOM_S3_BUCKET=pictures: "):
        await check_files(read_settings(Settings))


async def test_a_database_of_an_older_release_is_told(
    stores: dict[str, str], monkeypatch: pytest.MonkeyPatch, empty_url: str
) -> None:
    for name, value in (stores | {"DATABASE_URL": empty_url}).items():
        monkeypatch.setenv(name, value)

    with pytest.raises(WrongSettings, match=r"^DATABASE_URL: .* `darkroom migrate`$"):
        await check_files(read_settings(Settings))


LOGGING = """
import structlog
from config.logs import configure_logs
configure_logs("worker", level="info", format=%r)
structlog.get_logger().info("worker_started")
"""


@pytest.mark.parametrize(
    ("format", "is_terminal", "is_json"),
    [(None, True, False), (None, False, True), ("json", True, True), ("text", False, False)],
)
def test_logs_are_text_on_a_terminal_and_json_elsewhere(format: str | None, is_terminal: bool, is_json: bool) -> None:
    reading, writing = os.openpty() if is_terminal else os.pipe()

    subprocess.run([sys.executable, "-c", LOGGING % format], stderr=writing, check=True)

    line = os.read(reading, 1000).decode()
    assert "worker_started" in line and line.startswith("{") == is_json
    os.close(writing)
    os.close(reading)
