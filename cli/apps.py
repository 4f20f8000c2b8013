"""Apps from the command line: clients that sign their requests, each with a key pair of its own."""

import argparse
from pathlib import Path
from typing import Any

from cli.keys import add_scopes_option, moment, table
from jobs.dialects.tams_signature import read_public_key, written_key
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.database import Database


def add_apps_commands(commands: Any) -> None:
    actions = commands.add_parser("apps", help="apps that sign requests: create, list, revoke").add_subparsers(
        required=True
    )
    command = actions.add_parser("create", help="print the app_id of a new app")
    command.add_argument("account", help="the account's name; it is made on first use")
    command.add_argument("--public-key", type=Path, required=True, help="a PEM file: RSA of 2048 bits or more")
    add_scopes_option(command)
    command.set_defaults(act=create_app)
    command = actions.add_parser("list", help="what apps there are, and when each was used last")
    command.add_argument("account", nargs="?", help="only those of this account")
    command.set_defaults(act=list_apps)
    command = actions.add_parser("revoke", help="end an app; web processes follow within 10 seconds")
    command.add_argument("app_id")
    command.set_defaults(act=revoke_app)


async def create_app(database: Database, arguments: argparse.Namespace) -> list[str]:
    public_key = read_public_key(arguments.public_key.read_bytes())
    account = await AccountStore(database).ensure(arguments.account)
    app_id = await AppStore(database).add(account.id, written_key(public_key), scopes=arguments.scopes)
    return [f"app_id={app_id}"]


async def list_apps(database: Database, arguments: argparse.Namespace) -> list[str]:
    apps = await AppStore(database).apps(arguments.account)
    titles = ("APP ID", "ACCOUNT", "SCOPES", "LAST USED", "STATE")
    rows = [
        (
            app.id,
            app.account,
            ",".join(app.scopes),
            moment(app.last_used_at),
            f"revoked {moment(app.revoked_at)}" if app.revoked_at else "works",
        )
        for app in apps
    ]
    return table([titles, *rows])


async def revoke_app(database: Database, arguments: argparse.Namespace) -> list[str]:
    await AppStore(database).revoke(arguments.app_id)
    return [f"app {arguments.app_id} is revoked"]
