"""Everything on one machine: the stores, the schema, an account and the three processes.

`make up`, `make demo` and the journeys of the tests use it; a deployment uses the Procfile instead.
"""

import asyncio
import os
import secrets
import shlex
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from cli.accounts import written_secret
from cli.process import Process, running
from config.addresses import checked_address
from config.starting import WrongSettings
from embedded.postgres import EmbeddedPostgres
from embedded.redis import EmbeddedRedis
from jobs.storage.account_store import AccountStore
from jobs.storage.database import open_database
from jobs.storage.migrate import migrate

EmbeddedServer: TypeAlias = EmbeddedPostgres | EmbeddedRedis

FOLDER = Path(".darkroom").absolute()
ACCOUNT = "local"
HOST = "127.0.0.1"
READY_WITHIN_S = 120
# A process that ends as soon as this would only end again.
HOPELESS_WITHIN_S = 10
# Callbacks of a local installation go to this machine and its neighbours.
PRIVATE_NETWORKS = "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16"


class StackFailed(Exception):
    """The local installation could not be started; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running installation, and what a client needs to use it. `webhook_secret` is `whsec_<base64>`.

    `environment` is what each of the processes was started with, `servers` the stores that were started for them.
    """

    url: str
    api_key: str
    webhook_secret: str
    processes: list[Process]
    servers: Sequence[EmbeddedServer]
    environment: Mapping[str, str] = field(repr=False)


@contextmanager
def running_stack(folder: Path, *, port: int, env_file: Path | None = None) -> Iterator[Stack]:
    """Starts all that does not run yet, with its data in `folder`; stops what it started. Port 0 picks a free one.

    How to reach it is written to `env_file`, by default `folder`/env.
    """
    env_file = env_file or folder / "env"
    folder.mkdir(parents=True, exist_ok=True)
    port = _checked_port(port)
    with ExitStack() as exits:
        environment, servers = _environment(folder, port, exits)
        asyncio.run(migrate(environment["DATABASE_URL"]))
        url = f"http://{HOST}:{port}"
        api_key, webhook_secret = asyncio.run(_account(environment["DATABASE_URL"], env_file))
        _write_env(env_file, url, api_key, webhook_secret, environment)
        modules = ("orchestrator", "gpu_worker", "webhooks")
        processes = exits.enter_context(running(modules, environment, folder / "logs"))
        _wait_until_ready(f"{url}/readyz", processes)
        yield Stack(
            url=url,
            api_key=api_key,
            webhook_secret=webhook_secret,
            processes=processes,
            servers=servers,
            environment=environment,
        )


def _environment(folder: Path, port: int, exits: ExitStack) -> tuple[dict[str, str], Sequence[EmbeddedServer]]:
    """What the processes are told, and the embedded servers. A DATABASE_URL or REDIS_URL switches one off, but for its
    own address, which a shell that has read the env file has."""
    environment = {
        "DARKROOM_LOG_FORMAT": "text",
        "DARKROOM_EGRESS_ALLOW": PRIVATE_NETWORKS,
        "DARKROOM_FILES_FOLDER": str(folder / "files"),
        "DARKROOM_SECRET": _secret(folder / "secret"),
        **os.environ,
        "DARKROOM_HOST": HOST,
        "PORT": str(port),
    }
    servers: list[EmbeddedServer] = []
    known: dict[str, EmbeddedServer]
    known = {"DATABASE_URL": EmbeddedPostgres(folder), "REDIS_URL": EmbeddedRedis(folder)}
    for name, server in known.items():
        if _checked(name, environment.setdefault(name, server.url)) == server.url:
            exits.enter_context(server)
            servers.append(server)
    return environment, servers


def _checked_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise StackFailed(f"port {port} is taken; choose another: make up PORT=8090") from error
        free: int = probe.getsockname()[1]
        return free


def _secret(file: Path) -> str:
    if not file.exists():
        partial = file.with_name("secret.new")
        partial.touch(mode=0o600)
        partial.write_text(secrets.token_urlsafe(32))
        partial.replace(file)  # whole or not at all: an empty secret would stay for ever
    return file.read_text()


async def _account(database_url: str, env_file: Path) -> tuple[str, str]:
    """The key of an earlier start if it still works, else a new one."""
    async with open_database(database_url, connections=1) as database:
        accounts = AccountStore(database)
        account = await accounts.ensure(ACCOUNT)
        key = read_env(env_file).get("DARKROOM_API_KEY")
        if key is None or not await accounts.knows(key):
            key = await accounts.new_key(account.id)
    return key, written_secret(account)


def _write_env(file: Path, url: str, api_key: str, webhook_secret: str, environment: Mapping[str, str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch(mode=0o600)
    told = {"DARKROOM_URL": url, "DARKROOM_API_KEY": api_key, "DARKROOM_WEBHOOK_SECRET": webhook_secret}
    # For the commands that administer it.
    told |= {name: environment[name] for name in ("DATABASE_URL", "REDIS_URL")}
    file.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in told.items()))


def read_env(file: Path) -> dict[str, str]:
    """What a shell would learn from it; empty where there is no file."""
    words = shlex.split(file.read_text()) if file.exists() else []
    return dict(word.split("=", 1) for word in words if "=" in word)


def address_of(name: str) -> str:
    """DATABASE_URL or REDIS_URL; where it is not set, that of what `darkroom up` runs here. Raises StackFailed, and
    WrongSettings."""
    address = os.environ.get(name) or read_env(FOLDER / "env").get(name)
    if not address:
        raise StackFailed(f"{name} is not set, and nothing was started here by `make up`: it says what to work on")
    return _checked(name, address)


def _checked(name: str, address: str) -> str:
    try:
        return checked_address(name, address)
    except ValueError as error:
        raise WrongSettings(f"{name} {error}") from error


def _wait_until_ready(url: str, processes: list[Process]) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while not _answers(url):
        check_running(processes)
        if time.monotonic() > deadline:
            raise StackFailed(f"{url} was not ready within {READY_WITHIN_S} s; see {processes[0].log_file}")
        time.sleep(0.05)


def start_again(stack: Stack) -> list[str]:
    """Starts each store and each process again that has ended, and says which. Raises EmbeddedError where a store does
    not start, and StackFailed for a process that ended too soon."""
    return [*_servers_again(stack.servers), *_processes_again(stack.processes)]


def _servers_again(servers: Sequence[EmbeddedServer]) -> Iterator[str]:
    for server in servers:
        if not server.is_running:
            server.stop()
            server.start()
            yield f"{type(server).__name__.removeprefix('Embedded')} ended and was started again"


def _processes_again(processes: list[Process]) -> list[str]:
    ended = [(position, process) for position, process in enumerate(processes) if not process.is_running]
    for position, process in ended:
        if process.age_s < HOPELESS_WITHIN_S:
            check_running([process])
        processes[position] = process.again()
    return [f"{process.module} ended ({process.exit_code}) and was started again" for _, process in ended]


def check_running(processes: list[Process]) -> None:
    """Raises StackFailed, with the end of its log, for a process that has ended."""
    for process in processes:
        if not process.is_running:
            raise StackFailed(f"{process.module} ended; the end of {process.log_file}:\n{process.last_lines()}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
