"""API keys from the command line. A key is printed once, when it is made."""

import argparse
from datetime import UTC, datetime
from typing import Any

from cli.accounts import duration, written_secret
from jobs.account import ALL_SCOPES, Scope
from jobs.names import there_are
from jobs.storage.account_store import AccountStore, KeyRecord
from jobs.storage.database import Database


def add_keys_commands(commands: Any) -> None:
    actions = commands.add_parser("keys", help="API keys: create, list, revoke, rotate").add_subparsers(required=True)
    command = actions.add_parser("create", help="print a new API key for an account, and its webhook secret")
    command.add_argument("account", help="the account's name; it is made on first use")
    add_scopes_option(command)
    command.add_argument("--expires", type=duration, help="after how long it ends, like 90d; without it, never")
    command.set_defaults(act=create_key)
    command = actions.add_parser("list", help="what keys there are, and when each was used last")
    command.add_argument("account", nargs="?", help="only those of this account")
    command.set_defaults(act=list_keys)
    command = actions.add_parser("revoke", help="end a key; web processes follow within 10 seconds")
    command.add_argument("id", type=int, help="as `keys list` shows it")
    command.set_defaults(act=revoke_key)
    command = actions.add_parser("rotate", help="print a new key in place of an old one, which ends a little later")
    command.add_argument("id", type=int, help="as `keys list` shows it")
    command.add_argument("--overlap", type=duration, default="24h", help="how long the old key goes on working: 24h")
    command.set_defaults(act=rotate_key)


def add_scopes_option(command: argparse.ArgumentParser) -> None:
    names = ",".join(Scope)
    command.add_argument("--scopes", type=_scopes, default=ALL_SCOPES, help=f"some of {names}; without it, all")


async def create_key(database: Database, arguments: argparse.Namespace) -> list[str]:
    accounts = AccountStore(database)
    is_new = not await accounts.exists(arguments.account)
    account = await accounts.ensure(arguments.account)
    key = await accounts.new_key(account.id, scopes=arguments.scopes, lifetime=arguments.expires)
    made = [f"# a new account: {account.name}"] if is_new else []
    return [f"DARKROOM_API_KEY={key}", f"DARKROOM_WEBHOOK_SECRET={written_secret(account)}", *made]


async def list_keys(database: Database, arguments: argparse.Namespace) -> list[str]:
    keys = await AccountStore(database).keys(arguments.account)
    titles = ("ID", "KEY", "ACCOUNT", "SCOPES", "LAST USED", "STATE")
    rows = [
        (str(key.id), f"{key.prefix}…", key.account, ",".join(key.scopes), moment(key.last_used_at), _state(key))
        for key in keys
    ]
    return table([titles, *rows])


async def revoke_key(database: Database, arguments: argparse.Namespace) -> list[str]:
    await AccountStore(database).revoke_key(arguments.id)
    return [f"key {arguments.id} is revoked"]


async def rotate_key(database: Database, arguments: argparse.Namespace) -> list[str]:
    return [f"DARKROOM_API_KEY={await AccountStore(database).rotate_key(arguments.id, arguments.overlap)}"]


def table(rows: list[tuple[str, ...]]) -> list[str]:
    """Lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def moment(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ") if at else "never"


def _state(key: KeyRecord) -> str:
    replaced = f", replaced by {key.replaced_by}" if key.replaced_by else ""
    if key.revoked_at:
        return f"revoked {moment(key.revoked_at)}{replaced}"
    if key.expires_at is None:
        return "works"
    is_over = key.expires_at <= datetime.now(UTC)
    return f"{'expired' if is_over else 'works until'} {moment(key.expires_at)}{replaced}"


def _scopes(text: str) -> frozenset[Scope]:
    try:
        return frozenset(Scope(name.strip()) for name in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; {there_are(list(Scope))}") from error
