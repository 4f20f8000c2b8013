"""Accounts from the command line: their priority, weight and rate, and their limits."""

import argparse
import base64
import math
from datetime import timedelta
from typing import Any

from cli.credits import add_limits, set_limits
from jobs.account import MAX_PRIORITY, MAX_WEIGHT, MIN_PRIORITY, MIN_WEIGHT, Account, RateLimit
from jobs.errors import Fault, InvalidSubmission
from jobs.signing_keys import SigningKind, new_signing_key, written_public_key
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.words import count

MIN_RATE, MAX_RATE = 0.001, 100_000.0
MAX_BURST = 1_000_000
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LONGEST = timedelta(days=3650)


def add_account_commands(commands: Any) -> None:
    actions = commands.add_parser("account", help="what an account may do").add_subparsers(required=True)
    _add_set(actions.add_parser("set", help="change what is named, and print what holds now"))
    command = actions.add_parser("rotate-secret", help="print a new webhook secret; the old one signs too for a while")
    command.add_argument("account", help="the account's name")
    command.add_argument("--overlap", type=duration, default="24h", help="for how long both sign: 24h")
    command.set_defaults(act=rotate_secret)
    _add_signing_key(actions.add_parser("signing-key", help="sign callbacks with a key pair too; print the public key"))


def _add_set(command: argparse.ArgumentParser) -> None:
    command.add_argument("account", help="the account's name")
    command.add_argument(
        "--priority", type=_priority, help=f"{MIN_PRIORITY} to {MAX_PRIORITY}: each step is a head start of a minute"
    )
    command.add_argument(
        "--weight",
        type=_weight,
        help=f"{MIN_WEIGHT:g} to {MAX_WEIGHT:g}: its share of the workers while others wait; 1",
    )
    command.add_argument("--rate", type=_rate, help="requests a second over all keys and apps of the account")
    command.add_argument("--burst", type=_burst, help="requests at once; without it, what a second gives")
    command.add_argument("--no-rate-limit", action="store_true", help="as many requests as it likes: the default")
    add_limits(command)
    command.set_defaults(act=set_account)


def _add_signing_key(command: argparse.ArgumentParser) -> None:
    command.add_argument("account", help="the account's name")
    command.add_argument("--kind", type=SigningKind, choices=list(SigningKind), default=SigningKind.ED25519)
    change = command.add_mutually_exclusive_group()
    change.add_argument("--new", action="store_true", help="another pair in the place of the one there is")
    change.add_argument("--off", action="store_true", help="forget it: callbacks are signed with the secret alone")
    command.set_defaults(act=signing_key)


async def set_account(database: Database, arguments: argparse.Namespace) -> list[str]:
    accounts = AccountStore(database)
    account = await accounts.named(arguments.account)
    limit = _limit(arguments)
    if arguments.priority is not None:
        await accounts.set_priority(account.id, arguments.priority)
    if arguments.weight is not None:
        await accounts.set_weight(account.id, arguments.weight)
    if limit or arguments.no_rate_limit:
        await accounts.set_rate_limit(account.id, limit)
    return [_line(await accounts.named(account.name)), *await set_limits(database, arguments)]


async def rotate_secret(database: Database, arguments: argparse.Namespace) -> list[str]:
    account = await AccountStore(database).rotate_webhook_secret(arguments.account, arguments.overlap)
    return [f"DARKROOM_WEBHOOK_SECRET={written_secret(account)}"]


async def signing_key(database: Database, arguments: argparse.Namespace) -> list[str]:
    accounts, name, kind = AccountStore(database), arguments.account, arguments.kind
    key = await accounts.signing_key(name, kind)
    if arguments.off:
        await accounts.set_signing_key(name, kind, None)
        return [f"callbacks of {name} are not signed with {kind} any more"]
    if key is None or arguments.new:
        key = new_signing_key(kind)
        await accounts.set_signing_key(name, kind, key)
    return [written_public_key(kind, key)]


def written_secret(account: Account) -> str:
    """Standard Webhooks' form of a secret."""
    return f"whsec_{base64.b64encode(account.webhook_secret).decode()}"


def _limit(arguments: argparse.Namespace) -> RateLimit | None:
    if arguments.rate is None:
        if arguments.burst is not None:
            raise InvalidSubmission([Fault("--burst", "needs --rate")])
        return None
    if arguments.no_rate_limit:
        raise InvalidSubmission([Fault("--no-rate-limit", "contradicts --rate")])
    return RateLimit(per_s=arguments.rate, burst=arguments.burst or math.ceil(arguments.rate))


def _line(account: Account) -> str:
    limit = account.rate_limit
    rate = f"{count(limit.per_s, 'request')} a second, {limit.burst} at once" if limit else "no rate limit"
    return f"{account.name}: priority {account.priority}, weight {account.weight:g}, {rate}"


def _priority(text: str) -> int:
    return int(_number(text, MIN_PRIORITY, MAX_PRIORITY, whole=True))


def _weight(text: str) -> float:
    return _number(text, MIN_WEIGHT, MAX_WEIGHT)


def _rate(text: str) -> float:
    return _number(text, MIN_RATE, MAX_RATE)


def _burst(text: str) -> int:
    return int(_number(text, 1, MAX_BURST, whole=True))


def _number(text: str, low: float, high: float, *, whole: bool = False) -> float:
    try:
        value = int(text) if whole else float(text)
    except ValueError:
        value = math.nan
    if not low <= value <= high:
        raise argparse.ArgumentTypeError(f"{text!r} is no {'whole ' if whole else ''}number from {low:g} to {high:g}")
    return value


def duration(text: str) -> timedelta:
    number, unit = text[:-1], UNITS.get(text[-1:])
    if not (unit and number.isascii() and number.isdecimal() and len(number) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no duration like 30m, 24h or 90d")
    given = timedelta(**{unit: int(number)})
    if given > LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is over {LONGEST.days}d")
    return given
