"""`darkroom grant` and `darkroom account set`: credits and limits of accounts."""

import argparse
import asyncio
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from jobs.standing import Limits, Standing
from jobs.storage.database import open_database
from jobs.storage.ledger import Ledger

MAX_LIMIT = 2**31 - 1
MAX_AMOUNT = 10**15


def add_commands(commands: Any, database_url: Callable[[], str]) -> None:
    """Adds them to argparse's subparsers."""
    command = commands.add_parser("grant", help="give an account credits; a negative amount takes some back")
    command.add_argument("account")
    command.add_argument("amount", type=_amount)
    command.add_argument("--note", help="kept with the entry of the ledger")
    command.set_defaults(run=lambda arguments: print(asyncio.run(_grant(database_url(), arguments))))
    account = commands.add_parser("account", help="change an account").add_subparsers(required=True, metavar="COMMAND")
    command = account.add_parser("set", help="set what is named, and show what the account has and may do")
    command.add_argument("name")
    # What is not given stays as it is, and so is left out.
    options = {"default": argparse.SUPPRESS}
    command.add_argument(
        "--enforce-credits",
        dest="credits_enforced",
        action=argparse.BooleanOptionalAction,
        help="refuse jobs that cost more than the account has free",
        **options,
    )
    command.add_argument("--max-waiting", type=_limit, metavar="N", help="jobs in the queue, or 'none'", **options)
    command.add_argument("--max-running", type=_limit, metavar="N", help="jobs at work at once, or 'none'", **options)
    command.set_defaults(run=lambda arguments: print(asyncio.run(_set(database_url(), arguments))))


async def _grant(database_url: str, arguments: argparse.Namespace) -> str:
    async with open_database(database_url, connections=1) as database:
        standing = await Ledger(database).grant(arguments.account, arguments.amount, arguments.note)
    return _line(arguments.account, standing)


async def _set(database_url: str, arguments: argparse.Namespace) -> str:
    changes = {name: value for name, value in vars(arguments).items() if name in Limits.__slots__}
    async with open_database(database_url, connections=1) as database:
        standing = await Ledger(database).limit(arguments.name, changes)
    return _line(arguments.name, standing)


def _line(account: str, standing: Standing) -> str:
    limits = standing.limits
    enforced = "enforced" if limits.credits_enforced else "not enforced"
    credits = f"{standing.balance} credits, {standing.held} of them held, {enforced}"
    waiting = f"{standing.waiting} jobs waiting{_of(limits.max_waiting)}"
    return f"{account}: {credits}; {waiting}, {standing.running} running{_of(limits.max_running)}"


def _of(limit: int | None) -> str:
    return "" if limit is None else f" of at most {limit}"


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number") from error
    if not amount.is_finite() or not 0 < abs(amount) < MAX_AMOUNT or amount != round(amount, 4):
        raise argparse.ArgumentTypeError("an amount is not 0, and has at most 4 decimals")
    return amount


def _limit(text: str) -> int | None:
    if text == "none":
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= MAX_LIMIT):
        raise argparse.ArgumentTypeError(f"{text!r} is neither 'none' nor a number from 0 up")
    return int(text)
