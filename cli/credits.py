"""`darkroom grant` and `darkroom account set`: credits and limits of accounts."""

import argparse
from decimal import Decimal, InvalidOperation
from typing import Any

from jobs.standing import Limits, Standing
from jobs.storage.database import Database
from jobs.storage.ledger import Ledger
from jobs.words import count

MAX_LIMIT = 2**31 - 1
MAX_AMOUNT = 10**15


def add_grant_command(commands: Any) -> None:
    command = commands.add_parser("grant", help="give an account credits; a negative amount takes some back")
    command.add_argument("account")
    command.add_argument("amount", type=_amount)
    command.add_argument("--note", help="kept with the entry of the ledger")
    command.set_defaults(act=grant)


def add_limits(command: argparse.ArgumentParser) -> None:
    """The options of `account set` that `set_limits` reads."""
    # What is not given stays as it is, and so is left out.
    options: Any = {"default": argparse.SUPPRESS}
    command.add_argument(
        "--enforce-credits",
        dest="credits_enforced",
        action=argparse.BooleanOptionalAction,
        help="refuse jobs that cost more than the account has free",
        **options,
    )
    command.add_argument("--max-waiting", type=_limit, metavar="N", help="jobs in the queue, or 'none'", **options)
    command.add_argument("--max-running", type=_limit, metavar="N", help="jobs at work at once, or 'none'", **options)


async def grant(database: Database, arguments: argparse.Namespace) -> list[str]:
    standing = await Ledger(database).grant(arguments.account, arguments.amount, arguments.note)
    return [_line(arguments.account, standing)]


async def set_limits(database: Database, arguments: argparse.Namespace) -> list[str]:
    changes = {name: value for name, value in vars(arguments).items() if name in Limits.__slots__}
    return [_line(arguments.account, await Ledger(database).limit(arguments.account, changes))]


def _line(account: str, standing: Standing) -> str:
    limits = standing.limits
    enforced = "enforced" if limits.credits_enforced else "not enforced"
    credits = f"{count(standing.balance, 'credit')}, {standing.held} of them held, {enforced}"
    waiting = f"{count(standing.waiting, 'job')} waiting{_of(limits.max_waiting)}"
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
