"""The `darkroom` command. What a command does is in the modules beside it."""

import argparse
import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import asyncpg

from cli import credits
from cli.accounts import new_key
from cli.demo import PROMPT, DemoFailed, run_demo
from cli.stack import StackFailed, running_stack, start_again
from embedded import EmbeddedError
from jobs.errors import DarkroomError
from jobs.storage.migrate import migrate

FOLDER = Path(".darkroom").absolute()
MAX_PORT = 65_535


def demo(arguments: argparse.Namespace) -> None:
    print("starting PostgreSQL, Redis, web, worker and webhooks …")
    with running_stack(FOLDER, port=0) as stack:
        asyncio.run(run_demo(stack, FOLDER / "demo", arguments.prompt))
    print("everything was stopped again; `make up` starts it to stay")


def up(arguments: argparse.Namespace) -> None:
    print("starting PostgreSQL, Redis, web, worker and webhooks …")
    with running_stack(FOLDER, port=arguments.port) as stack:
        print(f"Darkroom listens on {stack.url}\nAPI key: {stack.api_key}")
        print(f"both are in {FOLDER / 'env'}, logs in {FOLDER / 'logs'}; Ctrl-C stops it", flush=True)
        try:
            while True:
                for line in start_again(stack.processes):
                    print(line, flush=True)
                time.sleep(0.5)
        except KeyboardInterrupt:
            print("\nstopping; a job that is being drawn has 20 seconds to end", flush=True)
            raise


def migrate_database(_arguments: argparse.Namespace) -> None:
    asyncio.run(migrate(_database_url()))


def create_key(arguments: argparse.Namespace) -> None:
    key, webhook_secret = asyncio.run(new_key(_database_url(), arguments.account))
    print(f"DARKROOM_API_KEY={key}\nDARKROOM_WEBHOOK_SECRET={webhook_secret}")


def _database_url() -> str:
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise StackFailed("DATABASE_URL is not set: it says which database to work on")
    return url


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="darkroom", description="A self-hosted image-generation job service")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("demo", help="start everything, draw a picture, stop")
    command.add_argument("prompt", nargs="?", default=PROMPT)
    command.set_defaults(run=demo)
    command = commands.add_parser("up", help="start everything on this machine and stay")
    command.add_argument("--port", type=_port, default=os.environ.get("PORT", "8080"))
    command.set_defaults(run=up)
    command = commands.add_parser("migrate", help="bring the database at DATABASE_URL to the newest schema")
    command.set_defaults(run=migrate_database)
    command = commands.add_parser("create-key", help="print a new API key for an account at DATABASE_URL")
    command.add_argument("account", help="the account's name; it is made on first use")
    command.set_defaults(run=create_key)
    credits.add_commands(commands, _database_url)
    return parser


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
    except (StackFailed, DemoFailed, DarkroomError, EmbeddedError, asyncpg.PostgresError, OSError) as error:
        sys.exit(f"darkroom: {error}")


if __name__ == "__main__":
    main()
