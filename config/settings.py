"""What an operator sets by environment variables. It reads them when asked, never at import."""

import re
from collections.abc import Iterable
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasGenerator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveInt,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.addresses import checked_address
from jobs.capabilities import RUNNABLE
from jobs.catalog import Family
from jobs.names import did_you_mean, hint
from jobs.storage.files import FilesPlace, S3Place

PREFIX = "DARKROOM_"


def _environment_name(field_name: str) -> str:
    return f"{PREFIX}{field_name.upper()}"


def _plain_seconds(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value  # ISO 8601, or a mistake that pydantic tells


def _over_none(duration: timedelta) -> timedelta:
    if duration <= timedelta(0):
        raise ValueError("must be over 0 seconds")
    return duration


def _over_signs_of_life(duration: timedelta) -> timedelta:
    if duration < timedelta(seconds=3):
        raise ValueError("must be at least 3 seconds")
    return duration


def _is_of_a_site(address: str) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port  # which is read only now
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)


def _stage(name: str) -> str:
    if name not in RUNNABLE:
        raise ValueError(f"names no stage with {name!r} ({hint(name, sorted(RUNNABLE))})")
    return name


def _family(name: str) -> str:
    if name not in set(Family):
        raise ValueError(f"names no family with {name!r} ({hint(name, list(Family))})")
    return name


Duration = Annotated[timedelta, BeforeValidator(_plain_seconds), AfterValidator(_over_none)]
"""Seconds, or ISO 8601 like `PT5S`."""

# What `make up` tells clients; a shell that has read it may start a process.
_OF_CLIENTS = frozenset({"DARKROOM_URL", "DARKROOM_API_KEY", "DARKROOM_WEBHOOK_SECRET"})


def unknown_settings(names: Iterable[str]) -> dict[str, str]:
    """Those of these variables that look like settings and are none, each with what may have been meant."""
    known = {str(field.validation_alias) for field in Settings.model_fields.values()}
    ours = [name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known | _OF_CLIENTS]
    # Without the prefix, in which all are alike.
    short = {name.removeprefix(PREFIX): name for name in sorted(known)}
    return {name: did_you_mean(name[len(PREFIX) :], (), short) for name in ours}


class ModelSettings(BaseSettings):
    """Where the models are: all that `darkroom models` needs to know."""

    # An error names the variable that the operator must set, and never shows what it holds.
    model_config = SettingsConfigDict(
        alias_generator=AliasGenerator(validation_alias=_environment_name),
        frozen=True,
        validate_by_name=True,
        hide_input_in_errors=True,
    )

    models_folder: Path = Path(__file__).parent.parent / "models"
    """Where the catalogue's relative paths begin. The bundled models lie in the default one."""
    catalog_file: Path = Path(__file__).parent / "catalog.toml"


class Settings(ModelSettings):
    """Names without a prefix are those that hosting platforms set; all others begin with DARKROOM_."""

    database_url: str = Field(validation_alias="DATABASE_URL")
    redis_url: str = Field(validation_alias="REDIS_URL")
    redis_tls_verify: bool = True
    host: str = "127.0.0.1"
    port: int = Field(default=8080, validation_alias="PORT", ge=0, le=65535)
    public_url: str = ""
    """How clients reach the web process; by default http://<host>:<port>."""
    secret: SecretStr = Field(min_length=16)
    """Signs links. All processes of one installation share it."""
    files: Literal["local", "s3"] = "local"
    files_folder: Path = Path(".darkroom/files")
    """Where pictures lie with DARKROOM_FILES=local. All processes of one installation share it."""
    s3_bucket: str = ""
    s3_prefix: str = ""
    s3_endpoint: str = ""
    """Of a compatible store, like http://127.0.0.1:9000; by default Amazon's."""
    s3_region: str = ""
    s3_access_key: str = ""
    """With its secret; by default what Amazon's tools find: AWS_ACCESS_KEY_ID, a profile, the machine's role."""
    s3_secret_key: SecretStr = SecretStr("")
    outputs_kept_days: int = Field(default=30, ge=0, le=36_500)
    """How long the pictures of a job are kept after its end; 0 for ever."""
    credits_file: Path = Path(__file__).parent / "credits.toml"
    model_cache_bytes: PositiveInt = 8 * 2**30
    pool: str = ""
    """To which a worker belongs: its line is served by no other. By default those that can do the same are one."""
    families: Annotated[tuple[Annotated[Family, BeforeValidator(_family)], ...], NoDecode] = ()
    """Of whose models a worker draws, e.g. `SD15,SDXL`; by default all."""
    stages: Annotated[tuple[Annotated[str, AfterValidator(_stage)], ...], NoDecode] = ()
    """Which a worker runs, e.g. `INPUT_INITIALIZE,DIFFUSION`; by default all."""
    log_format: Literal["text", "json"] | None = None
    """By default text on a terminal, else JSON."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    max_body_bytes: PositiveInt = 1 * 2**20
    max_upload_bytes: PositiveInt = 20 * 2**20
    max_upload_pixels: PositiveInt = 40_000_000
    signature_window: Duration = timedelta(minutes=5)
    """How far the timestamp of a signed request may be from the server's clock, either way."""
    max_streams: PositiveInt = 500
    """Event streams of one web process. Each holds a connection, and so an open file."""
    max_streams_per_account: PositiveInt = 50
    """Of those, how many may be one account's."""
    upload_origins: Annotated[tuple[str, ...], NoDecode] = ("*",)
    """Web sites whose pages may upload from a browser, e.g. `https://a.example,https://b.example`; `*` for all."""

    lease: Duration = timedelta(seconds=5)
    """How long a worker may be silent before its job is given to another."""
    sweep_every: Duration = timedelta(seconds=1)
    max_attempts: PositiveInt = 4
    attempt_within: Duration = timedelta(hours=1)
    """An attempt that takes longer is stopped and tried again."""
    hung_after: Annotated[Duration, AfterValidator(_over_signs_of_life)] = timedelta(minutes=1)
    """A worker that is silent for longer, or whose engine does not stop when it is asked to, is ended. It gives a sign
    of life every second."""
    stage_outputs_kept: Duration = timedelta(hours=1)
    """How long what a stage made is kept after its last use, for jobs that begin with the same stages and seeds."""
    retry_delay: Duration = timedelta(seconds=5)
    """Wait after a transitory failure; doubled with each further attempt."""

    egress_allow: Annotated[tuple[str, ...], NoDecode] = ()
    """Networks that callbacks may reach although they are not public, e.g. `127.0.0.0/8,10.0.0.0/8`."""
    delivery_concurrency: PositiveInt = 512
    """Callbacks that one webhooks process has under way. Each holds a connection, and so an open file."""
    delivery_concurrency_per_destination: PositiveInt = 16
    """Of those, how many may go to one destination of one account, when it answers well and quickly."""
    delivery_delays_s: Annotated[tuple[NonNegativeFloat, ...], NoDecode] = (
        5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 43200,
    )  # fmt: skip
    """Waits between the tries of a callback: 11 tries over 28 hours."""

    progress_callbacks_every: Duration = timedelta(seconds=2)
    """How often runningNotifyUrl hears of one job's progress, at most."""

    @field_validator("egress_allow", "delivery_delays_s", "upload_origins", "families", "stages", mode="before")
    @classmethod
    def _comma_list(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _of_postgres(cls, address: str) -> str:
        return checked_address("DATABASE_URL", address)

    @field_validator("redis_url")
    @classmethod
    def _of_redis(cls, address: str) -> str:
        return checked_address("REDIS_URL", address)

    @field_validator("public_url")
    @classmethod
    def _of_a_site(cls, address: str) -> str:
        if address and not _is_of_a_site(address):
            raise ValueError("must be an address like https://images.example, without a query")
        return address

    @field_validator("pool")
    @classmethod
    def _pool_name(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{0,64}", name):
            raise ValueError("must be at most 64 letters, digits, '_', '.' and '-'")
        return name

    @field_validator("egress_allow")
    @classmethod
    def _networks(cls, networks: tuple[str, ...]) -> tuple[str, ...]:
        for network in networks:
            try:
                ip_network(network)
            except ValueError as error:
                raise ValueError(f"must be networks like 10.0.0.0/8: {error}") from error
        return networks

    @model_validator(mode="after")
    def _bucket_is_named(self) -> "Settings":
        if self.files == "s3" and not self.s3_bucket:
            raise ValueError("DARKROOM_S3_BUCKET is needed with DARKROOM_FILES=s3")
        if bool(self.s3_access_key) != bool(self.s3_secret_key.get_secret_value()):
            raise ValueError("DARKROOM_S3_ACCESS_KEY and DARKROOM_S3_SECRET_KEY are set together or not at all")
        return self

    def files_place(self) -> FilesPlace:
        if self.files == "local":
            return self.files_folder
        return S3Place(
            bucket=self.s3_bucket,
            prefix=self.s3_prefix,
            endpoint=self.s3_endpoint or None,
            region=self.s3_region or None,
            access_key=self.s3_access_key or None,
            secret_key=self.s3_secret_key.get_secret_value() or None,
        )

    def files_place_told(self) -> str:
        """The variable, and what it holds."""
        if self.files == "local":
            return f"DARKROOM_FILES_FOLDER={self.files_folder.absolute()}"
        return f"DARKROOM_S3_BUCKET={'/'.join(filter(None, [self.s3_bucket, self.s3_prefix.strip('/')]))}"

    def outputs_kept(self) -> timedelta | None:
        return timedelta(days=self.outputs_kept_days) or None

    def url_for_clients(self) -> str:
        return (self.public_url or f"http://{self.host}:{self.port}").rstrip("/")
