"""How a process reads its settings, and ends in a sentence where they are wrong or a store is away. It starts none."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import asyncpg
import structlog
from pydantic import ValidationError

from config.catalog import read_catalog
from config.credits import read_rates
from config.logs import configure_logs
from config.settings import ModelSettings, Settings, unknown_settings
from jobs.catalog import Catalog
from jobs.credits import Rates
from jobs.errors import Unavailable
from jobs.storage.database import open_database
from jobs.storage.files import open_files
from jobs.storage.files_token import TOKEN_FILE, token_missing_in

WRONG_SETTINGS = 2
STORE_AWAY = 1

log = structlog.get_logger()

S = TypeVar("S", bound=ModelSettings)


class WrongSettings(Exception):
    """What the operator has set cannot work. The message names the variable."""


def read_settings(kind: type[S]) -> S:
    """Raises WrongSettings."""
    try:
        return kind()
    except ValidationError as error:
        raise WrongSettings("; ".join(_said(each) for each in error.errors())) from error


def warn_of_unknown_settings() -> None:
    """A misspelt variable would only not be heeded."""
    for name, meant in unknown_settings(os.environ).items():
        log.warning("setting_unknown", name=name, meant=meant or "none is spelled like it")


def catalog_of(settings: ModelSettings) -> Catalog:
    """Raises WrongSettings."""
    try:
        return read_catalog(settings.catalog_file, settings.models_folder)
    except (ValueError, OSError) as error:
        raise WrongSettings(f"DARKROOM_CATALOG_FILE: {error}") from error


def rates_of(settings: Settings) -> Rates:
    """Raises WrongSettings."""
    try:
        return read_rates(settings.credits_file)
    except (ValueError, OSError) as error:
        raise WrongSettings(f"DARKROOM_CREDITS_FILE: {error}") from error


async def check_files(settings: Settings) -> None:
    """Raises WrongSettings where other processes of the installation would not find what is kept; Unavailable while a
    bucket cannot be reached."""
    told = settings.files_place_told()
    async with open_database(settings.database_url, connections=1) as database:
        try:
            async with open_files(settings.files_place()) as files:
                token = await token_missing_in(files, database)
        except asyncpg.UndefinedTableError as error:
            raise WrongSettings("DATABASE_URL: this release has more tables; run `darkroom migrate`") from error
        except Unavailable as error:
            raise Unavailable(f"{told}: {error}") from error
        except OSError as error:
            raise WrongSettings(f"{told}: nothing can be kept there: {error}") from error
    if token:
        raise WrongSettings(
            f"{told} is not where this installation keeps its pictures; there, the file {TOKEN_FILE!r} holds {token}"
        )


@contextmanager
def ending_in_words(process: str) -> Iterator[None]:
    """Around all that a process does."""
    try:
        yield
    except WrongSettings as error:
        _end(WRONG_SETTINGS, f"darkroom {process}: {error}")
    except Unavailable as error:
        _end(STORE_AWAY, f"darkroom {process}: {error}")
    except KeyboardInterrupt:
        _end(130, f"darkroom {process}: stopped")  # as a shell tells it


@contextmanager
def started(process: str) -> Iterator[Settings]:
    """Around all that a process of the installation does: its settings, with logs as they say."""
    with ending_in_words(process):
        settings = read_settings(Settings)
        configure_logs(process, level=settings.log_level, format=settings.log_format)
        warn_of_unknown_settings()
        yield settings


def _end(status: int, sentence: str) -> None:
    print(sentence, file=sys.stderr)
    sys.exit(status)


def _said(error: Any) -> str:
    name = ".".join(map(str, error["loc"][:1]))
    match error["type"]:
        case "missing":
            return f"{name} is not set"
        case "too_short" | "string_too_short":
            return f"{name} must have {error['ctx']['min_length']} characters or more"
        case "value_error":
            return f"{name} {error['ctx']['error']}".lstrip()
        case _:
            return f"{name}: {error['msg'][:1].lower()}{error['msg'][1:]}"
