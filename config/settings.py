"""What an operator sets by environment variables. It reads them when asked, never at import."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AliasGenerator, BeforeValidator, Field, NonNegativeFloat, PositiveInt, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def _environment_name(field_name: str) -> str:
    return f"DARKROOM_{field_name.upper()}"


def _plain_seconds(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value  # ISO 8601, or a mistake that pydantic tells


Duration = Annotated[timedelta, BeforeValidator(_plain_seconds), Field(gt=timedelta(0))]
"""Seconds, or ISO 8601 like `PT5S`."""


class Settings(BaseSettings):
    """Names without a prefix are those that hosting platforms set; all others begin with DARKROOM_."""

    # An error names the variable that the operator must set, and never shows what it holds.
    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=_environment_name),
        frozen=True,
        validate_by_name=True,
        hide_input_in_errors=True,
    )

    database_url: str = Field(validation_alias="DATABASE_URL", min_length=1)
    redis_url: str = Field(validation_alias="REDIS_URL", min_length=1)
    redis_tls_verify: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8080, validation_alias="PORT", ge=0, le=65535)
    public_url: str = ""
    """How clients reach the web process; by default http://<host>:<port>."""
    secret: SecretStr = Field(min_length=16)
    """Signs links. All processes of one installation share it."""
    files_folder: Path = Path(".darkroom/files")
    models_folder: Path = Path(".darkroom/models")
    catalog_file: Path = Path(__file__).parent / "catalog.toml"
    credits_file: Path = Path(__file__).parent / "credits.toml"
    model_cache_bytes: PositiveInt = 8 * 2**30
    log_format: Literal["text", "json"] = "json"
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    max_body_bytes: PositiveInt = 1 * 2**20
    max_upload_bytes: PositiveInt = 20 * 2**20
    max_upload_pixels: PositiveInt = 40_000_000

    lease: Duration = timedelta(seconds=5)
    """How long a worker may be silent before its job is given to another."""
    sweep_every: Duration = timedelta(seconds=1)
    max_attempts: PositiveInt = 4
    attempt_within: Duration = timedelta(hours=1)
    """An attempt that takes longer is stopped and tried again."""
    retry_delay: Duration = timedelta(seconds=5)
    """Wait after a transitory failure; doubled with each further attempt."""

    egress_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks that callbacks may reach although they are not public, e.g. `127.0.0.0/8,10.0.0.0/8`."""
    delivery_concurrency: PositiveInt = 64
    delivery_delays_s: Annotated[tuple[NonNegativeFloat, ...], NoDecode] = (
        5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200,
    )  # fmt: skip
    """Waits between the tries of a callback: 11 tries over 28 hours."""

    @field_validator("egress_allow", "delivery_delays_s", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    def url_for_clients(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
