"""What operators see of callbacks, and do to them: the commands as they are typed, on a real database."""

import argparse
import asyncio
from datetime import timedelta

import pytest

from cli.__main__ import _parser
from jobs.deliveries import DeliveryState
from jobs.errors import InvalidSubmission, NotFound
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from jobs.storage.delivery_log import DeliveryLog
from jobs.storage.delivery_store import Attempt, DeliveryStore, Rooms

HOOK = "https://client.example/hook?token=x"
BROKEN = Attempt(seconds=1.5, status=500, error="answered 500")


async def typed(database: Database, command: str) -> list[str]:
    arguments: argparse.Namespace = _parser().parse_args(["webhooks", *command.split()])
    lines: list[str] = await arguments.act(database, arguments)
    return lines


async def sent(database: Database, state: DeliveryState, account: str = "ours") -> str:
    """A callback of which one attempt was made; gives its `webhook-id`."""
    account_id = (await AccountStore(database).ensure(account)).id
    await DeliveryLog(database).test(account_id, HOOK)
    store = DeliveryStore(database)
    (delivery,) = await store.claim(Rooms(limit=9, strangers=9, each=9), claim=timedelta(minutes=1))
    await store.record(delivery, BROKEN, state, timedelta(hours=1) if state == DeliveryState.PENDING else None)
    return f"msg_{delivery.id.hex}"


async def test_the_tail_tells_of_attempts_and_no_address_in_full(database: Database) -> None:
    await sent(database, DeliveryState.PENDING)
    await sent(database, DeliveryState.DEAD, "theirs")

    both, ours = await typed(database, "tail"), await typed(database, "tail --account ours")

    assert len(both) == 2 and len(ours) == 1
    assert "TEST of no job to https://client.example: answered 500 after 1.50 s, next 2" in ours[0]
    assert "next" not in both[1] and "token" not in "".join(both)


async def test_following_prints_each_attempt_once(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    await sent(database, DeliveryState.DEAD)
    following = asyncio.create_task(typed(database, "tail --follow"))
    await asyncio.sleep(0.3)
    await sent(database, DeliveryState.DEAD)
    await asyncio.sleep(2.5)
    following.cancel()

    assert capsys.readouterr().out.count("answered 500") == 2


async def test_dead_letters_are_listed_and_sent_again_one_or_all(database: Database) -> None:
    messages = [await sent(database, DeliveryState.DEAD) for _ in range(3)]
    await sent(database, DeliveryState.DELIVERED)

    listed = await typed(database, "dlq")
    one = await typed(database, f"replay {messages[0]}")
    rest = await typed(database, "replay --account ours")

    assert {line.split()[0] for line in listed[1:]} == set(messages) and "answered 500" in listed[1]
    assert (one, rest) == ([f"{messages[0]} is sent again"], ["2 dead letters are sent again"])
    assert len(await typed(database, "dlq")) == 1


async def test_a_period_is_replayed(database: Database) -> None:
    await sent(database, DeliveryState.DEAD)

    assert await typed(database, "replay --before 2020-01-01") == ["0 dead letters are sent again"]
    assert await typed(database, "replay --since 2020-01-01T00:00:00Z") == ["1 dead letter is sent again"]


async def test_what_cannot_be_meant_is_refused(database: Database) -> None:
    message = await sent(database, DeliveryState.DEAD)

    with pytest.raises(NotFound):
        await typed(database, "replay msg_1")
    with pytest.raises(NotFound, match="nobody"):
        await typed(database, "dlq --account nobody")
    with pytest.raises(InvalidSubmission):
        await typed(database, f"replay {message} --since 2020-01-01")
    with pytest.raises(InvalidSubmission):
        await typed(database, "test ours ftp://x")
    with pytest.raises(SystemExit):
        await typed(database, "replay --since today")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("our", "There is no account 'our'; did you mean 'ours'?"),
        ("nobody", "There is no account 'nobody'; there are 'ours' and 'theirs'"),
    ],
)
async def test_a_test_of_an_account_that_is_not_names_those_that_are(database: Database, asked: str, said: str) -> None:
    for name in ("ours", "theirs"):
        await AccountStore(database).ensure(name)

    with pytest.raises(NotFound) as refused:
        await typed(database, f"test {asked} {HOOK}")

    assert str(refused.value) == said


async def test_of_very_many_accounts_only_those_that_are_near_are_named(database: Database) -> None:
    for number in range(11):
        await AccountStore(database).ensure(f"studio-{number}")

    with pytest.raises(NotFound, match=r"^There is no account 'x'\.$"):
        await typed(database, f"test x {HOOK}")


async def test_a_test_is_sent(database: Database) -> None:
    await AccountStore(database).ensure("ours")

    (line,) = await typed(database, f"test ours {HOOK}")

    assert line.startswith("msg_")
    (delivery,) = await DeliveryStore(database).claim(Rooms(limit=9, strangers=9), claim=timedelta(minutes=1))
    assert delivery.url == HOOK
