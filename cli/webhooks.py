"""`darkroom webhooks`: callbacks as they are sent, those that were given up, and their replay."""

import argparse
import asyncio
from datetime import UTC, datetime
from typing import Any

from cli.keys import moment, table
from jobs.deliveries import MAX_DELIVERIES, DeliveryFilter, DeliveryRecord, DeliveryState, message_id
from jobs.dialects.tams_deliveries import delivery_id, parse_test
from jobs.errors import Fault, InvalidSubmission
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.delivery_log import DeliveryLog, LoggedAttempt
from jobs.words import are, count

SHOWN_FIRST = 20
FOLLOW_EVERY_S = 1.0
MOST_AT_ONCE = 1000


def add_webhooks_commands(commands: Any) -> None:
    actions = commands.add_parser("webhooks", help="callbacks: tail, dlq, replay, test").add_subparsers(required=True)
    command = actions.add_parser("tail", help="the last attempts, and with --follow each one as it comes")
    command.add_argument("--follow", action="store_true", help="until Ctrl-C")
    _add_account_option(command)
    command.set_defaults(act=tail)
    command = actions.add_parser("dlq", help=f"the newest {MAX_DELIVERIES} dead letters: callbacks that were given up")
    _add_account_option(command)
    command.set_defaults(act=dead_letters)
    command = actions.add_parser("replay", help="send one again, or all dead letters, or those of a period")
    command.add_argument("id", nargs="?", help="the webhook-id; without it, all dead letters")
    command.add_argument("--since", type=_time, help="made at this time or later, like 2026-05-01T12:00:00Z")
    command.add_argument("--before", type=_time, help="made before this time")
    _add_account_option(command)
    command.set_defaults(act=replay)
    command = actions.add_parser("test", help="send a test to an address; success enables a disabled destination")
    command.add_argument("account")
    command.add_argument("url")
    command.set_defaults(act=send_test)


def _add_account_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--account", help="only those of this account")


async def tail(database: Database, arguments: argparse.Namespace) -> list[str]:
    account_id, log = await _account_id(database, arguments.account), DeliveryLog(database)
    attempts, last = await log.attempts_after(0, account_id=account_id, limit=SHOWN_FIRST), 0
    while arguments.follow:
        for each in attempts:
            print(_attempt(each), flush=True)
        last = attempts[-1].number if attempts else last
        await asyncio.sleep(FOLLOW_EVERY_S)
        attempts = await log.attempts_after(last, account_id=account_id, limit=MOST_AT_ONCE)
    return [_attempt(each) for each in attempts]


async def dead_letters(database: Database, arguments: argparse.Namespace) -> list[str]:
    account_id = await _account_id(database, arguments.account)
    asked = DeliveryFilter(states=(DeliveryState.DEAD,), limit=MAX_DELIVERIES)
    titles = ("ID", "JOB", "MADE", "TRIES", "LAST ERROR")
    return table([titles, *map(_row, await DeliveryLog(database).page(account_id, asked))])


async def replay(database: Database, arguments: argparse.Namespace) -> list[str]:
    account_id, log = await _account_id(database, arguments.account), DeliveryLog(database)
    period = {"created_after": arguments.since, "created_before": arguments.before}
    given = {name: time for name, time in period.items() if time}
    if arguments.id:
        if given:
            raise InvalidSubmission([Fault("", "a period is for many, and an id for one")])
        record = await log.replay(account_id, delivery_id(arguments.id))
        return [f"{message_id(record.id)} is sent again"]
    number = await log.replay_all(account_id, DeliveryFilter(states=(DeliveryState.DEAD,), **given))
    return [f"{count(number, 'dead letter')} {are(number)} sent again"]


async def send_test(database: Database, arguments: argparse.Namespace) -> list[str]:
    account = await AccountStore(database).named(arguments.account)
    record = await DeliveryLog(database).test(account.id, parse_test({"url": arguments.url}))
    return [f"{message_id(record.id)} is sent; `darkroom webhooks tail` shows what comes of it"]


async def _account_id(database: Database, name: str | None) -> int | None:
    return (await AccountStore(database).named(name)).id if name else None


def _attempt(logged: LoggedAttempt) -> str:
    attempt = logged.attempt
    about = f"job {logged.job_id}" if logged.job_id else "no job"
    then = f", next {moment(attempt.next_try_at)}" if attempt.next_try_at else ""
    outcome = f"{attempt.error or f'answered {attempt.status}'} after {attempt.seconds:.2f} s{then}"
    at = f"{attempt.started_at.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    return f"{at}  {logged.kind} of {about} to {logged.origin}: {outcome}"


def _row(record: DeliveryRecord) -> tuple[str, ...]:
    return (
        message_id(record.id),
        str(record.job_id or "-"),
        moment(record.created_at),
        str(record.tries),
        record.last_error or "",
    )


def _time(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no time like 2026-05-01T12:00:00Z") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)
