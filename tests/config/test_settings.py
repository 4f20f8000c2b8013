"""What an operator sets, and how a mistake is told."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import Settings
from jobs.storage.files import S3Place
from tests.config.needed import NEEDED


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is needed; a test adds the rest."""
    for name in ("PORT", "DARKROOM_EGRESS_ALLOW", "DARKROOM_DELIVERY_DELAYS_S", "DARKROOM_PUBLIC_URL", "DARKROOM_HOST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in NEEDED.items():
        monkeypatch.setenv(name, value)


def test_the_names_that_hosting_platforms_set_have_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")

    settings = Settings()

    assert (settings.database_url, settings.redis_url, settings.port) == (
        "postgresql://db.example/darkroom",
        "redis://redis.example",
        9000,
    )


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_setting_is_named_as_the_operator_writes_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)

    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "DARKROOM_SECRET"])
def test_an_empty_one_is_as_good_as_missing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")

    with pytest.raises(ValidationError, match=name):
        Settings()


def test_the_secret_is_not_shown() -> None:
    assert NEEDED["DARKROOM_SECRET"] not in repr(Settings())


def test_a_short_secret_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_SECRET", "letmein")

    with pytest.raises(ValidationError, match="16") as refused:
        Settings()

    assert "letmein" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "networks"),
    [
        ("", ()),
        ("10.0.0.0/8", ("10.0.0.0/8",)),
        (" 127.0.0.0/8, 10.0.0.0/8 ,", ("127.0.0.0/8", "10.0.0.0/8")),
    ],
)
def test_lists_are_separated_by_commas(
    monkeypatch: pytest.MonkeyPatch, written: str, networks: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DARKROOM_EGRESS_ALLOW", written)

    assert Settings().egress_allow == networks


def test_delays_are_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_DELIVERY_DELAYS_S", "0.5, 2,30")

    assert Settings().delivery_delays_s == (0.5, 2.0, 30.0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DARKROOM_DELIVERY_DELAYS_S", "1,soon"),
        ("DARKROOM_DELIVERY_DELAYS_S", "-1"),
        ("DARKROOM_LEASE", "0"),
        ("DARKROOM_SWEEP_EVERY", "-1"),
        ("DARKROOM_MAX_ATTEMPTS", "0"),
        ("DARKROOM_SIGNATURE_WINDOW", "0"),
        ("DARKROOM_DELIVERY_CONCURRENCY", "0"),
        ("DARKROOM_MAX_BODY_BYTES", "0"),
        ("DARKROOM_LOG_LEVEL", "loud"),
        ("PORT", "70000"),
    ],
)
def test_a_value_that_cannot_work_is_refused_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=name):
        Settings()


@pytest.mark.parametrize(("written", "lease"), [("6", 6), ("0.5", 0.5), ("PT1M", 60)])
def test_times_are_seconds_or_iso_8601(monkeypatch: pytest.MonkeyPatch, written: str, lease: float) -> None:
    monkeypatch.setenv("DARKROOM_LEASE", written)

    assert Settings().lease == timedelta(seconds=lease)


@pytest.mark.parametrize(
    ("public_url", "shown"),
    [("", "http://127.0.0.1:8080"), ("https://images.example/", "https://images.example")],
)
def test_clients_are_given_the_public_address_without_a_final_slash(
    monkeypatch: pytest.MonkeyPatch, public_url: str, shown: str
) -> None:
    monkeypatch.setenv("DARKROOM_PUBLIC_URL", public_url)

    assert Settings().url_for_clients() == shown


def test_pictures_lie_in_a_folder_unless_a_bucket_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DARKROOM_FILES_FOLDER", "/pictures")
    local = Settings().files_place()
    monkeypatch.setenv("DARKROOM_FILES", "s3")
    monkeypatch.setenv("DARKROOM_S3_BUCKET", "pictures")
    bare = Settings().files_place()
    monkeypatch.setenv("DARKROOM_S3_ENDPOINT", "http://127.0.0.1:9000")
    monkeypatch.setenv("DARKROOM_S3_ACCESS_KEY", "key")
    monkeypatch.setenv("DARKROOM_S3_SECRET_KEY", "hush")

    assert local == Path("/pictures")
    assert bare == S3Place(bucket="pictures")
    assert Settings().files_place() == S3Place(
        bucket="pictures", endpoint="http://127.0.0.1:9000", access_key="key", secret_key="hush"
    )
    assert "hush" not in repr(Settings())


@pytest.mark.parametrize(("days", "kept"), [("0", None), ("7", timedelta(days=7)), (None, timedelta(days=30))])
def test_outputs_are_kept_for_days_or_for_ever(
    monkeypatch: pytest.MonkeyPatch, days: str | None, kept: timedelta | None
) -> None:
    if days:
        monkeypatch.setenv("DARKROOM_OUTPUTS_KEPT_DAYS", days)

    assert Settings().outputs_kept() == kept


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"DARKROOM_FILES": "s3"}, "DARKROOM_S3_BUCKET"),
        ({"DARKROOM_S3_ACCESS_KEY": "key"}, "DARKROOM_S3_SECRET_KEY"),
        ({"DARKROOM_S3_SECRET_KEY": "hush"}, "DARKROOM_S3_ACCESS_KEY"),
        ({"DARKROOM_FILES": "ftp"}, "DARKROOM_FILES"),
        ({"DARKROOM_OUTPUTS_KEPT_DAYS": "-1"}, "DARKROOM_OUTPUTS_KEPT_DAYS"),
    ],
)
def test_what_cannot_be_meant_for_pictures_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], named: str
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ValidationError, match=named):
        Settings()
