"""The `darkroom` command. What a command does is in the modules beside it."""

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import asyncpg
from redis.exceptions import RedisError

from cli.accounts import add_account_commands
from cli.apps import add_apps_commands
from cli.credits import add_grant_command
from cli.demo import PROMPT, DemoFailed, run_demo
from cli.keys import add_keys_commands
from cli.models import ModelsFailed, add_models_commands
from cli.queue import add_queue_command, knows_a_worker
from cli.stack import FOLDER, StackFailed, address_of, running_stack, start_again
from cli.webhooks import add_webhooks_commands
from cli.workers import add_workers_commands
from config.starting import WRONG_SETTINGS, WrongSettings
from embedded import EmbeddedError
from jobs.errors import DarkroomError
from jobs.storage.database import open_database
from jobs.storage.migrate import migrate

MAX_PORT = 65_535


def demo(arguments: argparse.Namespace) -> None:
    print("starting PostgreSQL, Redis, web, worker and webhooks …")
    # Of a port that is gone in a minute nobody else needs to know.
    folder = arguments.folder / "demo"
    with running_stack(arguments.folder, port=0, env_file=folder / "env") as stack:
        asyncio.run(run_demo(stack, folder, arguments.prompt))
    print("everything was stopped again; `make up` starts it to stay")


def up(arguments: argparse.Namespace) -> None:
    print("starting PostgreSQL, Redis, web, worker and webhooks …")
    folder = arguments.folder
    with running_stack(folder, port=arguments.port) as stack:
        print(f"Darkroom listens on {stack.url}\nAPI key: {stack.api_key}")
        print(f"both are in {folder / 'env'}, logs in {folder / 'logs'}; Ctrl-C stops it")
        print("the worker loads its model; jobs may be sent already", flush=True)
        has_worker = False
        try:
            while True:
                for line in start_again(stack):
                    print(line, flush=True)
                if not has_worker and (has_worker := knows_a_worker(stack.environment["REDIS_URL"])):
                    print("the worker is ready to draw", flush=True)
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("\nstopping; a job that is being drawn has 15 seconds to end", flush=True)
            raise


def migrate_database(_arguments: argparse.Namespace) -> None:
    asyncio.run(migrate(address_of("DATABASE_URL")))


def administer(arguments: argparse.Namespace) -> None:
    """What `act` does with the database alone; it gives the lines to print."""
    for line in asyncio.run(_act(arguments)):
        print(line)


async def _act(arguments: argparse.Namespace) -> list[str]:
    address = address_of("DATABASE_URL")
    try:
        async with open_database(address, connections=1) as database:
            lines: list[str] = await arguments.act(database, arguments)
    except (ConnectionError, FileNotFoundError) as error:
        raise StackFailed(f"PostgreSQL at {address} does not answer: {error}. Is `make up` running?") from error
    return lines


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="darkroom",
        description="A self-hosted image-generation job service",
        epilog="account, keys, apps and webhooks work on the database at DATABASE_URL, or on that of `darkroom up`.",
    )
    parser.set_defaults(run=administer)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("demo", help="start everything, draw a picture, stop")
    command.add_argument("prompt", nargs="?", default=PROMPT, help=f"what to draw: {PROMPT}")
    _add_folder(command)
    command.set_defaults(run=demo)
    command = commands.add_parser("up", help="start everything on this machine and stay")
    command.add_argument(
        "--port",
        type=_port,
        default=os.environ.get("PORT", "8080"),
        help="of the web process: PORT, or 8080; 0 for any free one",
    )
    _add_folder(command)
    command.set_defaults(run=up)
    command = commands.add_parser("migrate", help="bring the database at DATABASE_URL to the newest schema")
    command.set_defaults(run=migrate_database)
    for add in (
        add_account_commands,
        add_grant_command,
        add_keys_commands,
        add_apps_commands,
        add_webhooks_commands,
    ):
        add(commands)
    add_queue_command(commands)
    add_workers_commands(commands)
    add_models_commands(commands.add_parser("models", help="look at the models of the catalogue"))
    return parser


def _add_folder(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--folder",
        type=lambda text: Path(text).absolute(),
        default=FOLDER,
        help="of its data, logs and pictures: .darkroom; its file `env` tells other commands of it",
    )


def _port(text: str) -> int:
    if not (text.isdecimal() and int(text) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: 0 (any free one) to {MAX_PORT}")
    return int(text)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    arguments = _parser().parse_args()
    for name in (signal.SIGTERM, signal.SIGINT):  # a shell's background job has SIGINT ignored
        signal.signal(name, _interrupt)
    try:
        arguments.run(arguments)
    except KeyboardInterrupt:
        print("stopped")
    except RedisError as error:
        sys.exit(f"darkroom: Redis does not answer: {error}. Is `make up` running?")
    except WrongSettings as error:
        print(f"darkroom: {error}", file=sys.stderr)
        sys.exit(WRONG_SETTINGS)
    except (
        StackFailed,
        DemoFailed,
        ModelsFailed,
        EmbeddedError,
        DarkroomError,
        asyncpg.PostgresError,
        asyncpg.InterfaceError,
        OSError,
    ) as error:
        sys.exit(f"darkroom: {error}")


if __name__ == "__main__":
    main()
