"""What operators do to accounts, keys and apps: the commands as they are typed, on a real database."""

import argparse
import asyncio
import os
import re
import sys
import time
from pathlib import Path

import pytest
from arq.connections import ArqRedis
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from cli.__main__ import _parser
from cli.accounts import written_secret
from cli.queue import queue_lines
from embedded import Servers
from jobs.ability import Ability
from jobs.account import RateLimit
from jobs.dialects.tams_signature import written_key
from jobs.errors import DarkroomError, InvalidSubmission, NotFound
from jobs.job import Range
from jobs.pool import NOBODY
from jobs.signing_keys import SigningKind
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import Waiting
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import Pauses
from jobs.turn import Turn
from tests.pools import ABLE, MEMBER


@pytest.fixture
def accounts(database: Database) -> AccountStore:
    return AccountStore(database)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "public.pem"
    file.write_text(written_key(generate_private_key(public_exponent=65537, key_size=2048).public_key()))
    return file


async def typed(database: Database, command: str) -> list[str]:
    arguments: argparse.Namespace = _parser().parse_args(command.split())
    lines: list[str] = await arguments.act(database, arguments)
    return lines


def key_in(lines: list[str]) -> str:
    return lines[0].removeprefix("DARKROOM_API_KEY=")


async def test_a_key_that_is_created_works_and_comes_with_the_webhook_secret(
    database: Database, accounts: AccountStore
) -> None:
    lines = await typed(database, "keys create ours")

    assert await accounts.knows(key_in(lines))
    assert re.fullmatch(r"DARKROOM_WEBHOOK_SECRET=whsec_[A-Za-z0-9+/]{43}=", lines[1])


async def test_who_makes_a_key_hears_whether_its_account_is_new(database: Database) -> None:
    first, second = [await typed(database, "keys create ours") for _ in range(2)]

    assert first[2:] == ["# a new account: ours"] and second[2:] == []


async def test_scopes_and_an_end_can_be_given(database: Database, accounts: AccountStore) -> None:
    await typed(database, "keys create ours --scopes jobs:read,resources:write --expires 90d")

    (key,) = await accounts.keys()

    assert key.scopes == ("jobs:read", "resources:write")
    assert key.expires_at is not None and (key.expires_at - key.created_at).days == 90


async def test_the_list_tells_of_each_key_without_showing_it(database: Database) -> None:
    key = key_in(await typed(database, "keys create ours"))
    await typed(database, "keys create theirs --scopes jobs:read --expires 1h")
    await typed(database, "keys rotate 1 --overlap 30m")
    await typed(database, "keys revoke 2")

    lines = await typed(database, "keys list")

    assert key not in "".join(lines) and key[:10] in lines[1]
    assert [line.split()[0] for line in lines] == ["ID", "1", "2", "3"]
    assert "works until" in lines[1] and lines[1].endswith("replaced by 3")
    assert lines[2].split()[2:6] == ["theirs", "jobs:read", "never", "revoked"]
    assert lines[3].endswith("works")
    assert len(await typed(database, "keys list theirs")) == 2


async def test_a_rotation_prints_the_new_key(database: Database, accounts: AccountStore) -> None:
    old = key_in(await typed(database, "keys create ours"))

    new = key_in(await typed(database, "keys rotate 1"))

    assert await accounts.knows(old) and await accounts.knows(new) and old != new


async def test_only_what_is_named_is_set(database: Database, accounts: AccountStore) -> None:
    await accounts.ensure("ours")

    first = await typed(database, "account set ours --rate 5 --burst 20")
    second = await typed(database, "account set ours --priority -3")

    assert first[0] == "ours: priority 0, weight 1, 5 requests a second, 20 at once"
    assert second[0] == "ours: priority -3, weight 1, 5 requests a second, 20 at once"
    assert (await typed(database, "account set ours --no-rate-limit"))[
        0
    ] == "ours: priority -3, weight 1, no rate limit"
    assert (await typed(database, "account set ours --weight 2.5"))[0] == "ours: priority -3, weight 2.5, no rate limit"
    assert (await accounts.named("ours")).weight == 2.5


async def test_a_rotation_prints_the_new_webhook_secret(database: Database, accounts: AccountStore) -> None:
    old = await accounts.ensure("ours")

    (line,) = await typed(database, "account rotate-secret ours --overlap 2h")

    new = await accounts.named("ours")
    assert line == f"DARKROOM_WEBHOOK_SECRET={written_secret(new)}" and new.webhook_secret != old.webhook_secret
    with pytest.raises(NotFound, match="nobody"):
        await typed(database, "account rotate-secret nobody")


@pytest.mark.parametrize(("kind", "begin"), [("ed25519", "whpk_"), ("tams-rsa", "-----BEGIN PUBLIC KEY-----")])
async def test_a_signing_key_is_made_once_and_replaced_or_forgotten_when_told(
    database: Database, accounts: AccountStore, kind: str, begin: str
) -> None:
    await accounts.ensure("ours")

    first, same, new = [
        await typed(database, f"account signing-key ours --kind {kind} {more}") for more in ("", "", "--new")
    ]
    await typed(database, f"account signing-key ours --kind {kind} --off")

    assert first == same != new and new[0].startswith(begin)
    assert [await accounts.signing_key("ours", each) for each in SigningKind] == [None, None]
    with pytest.raises(NotFound, match="nobody"):
        await typed(database, "account signing-key nobody")


@pytest.mark.parametrize(("rate", "burst"), [("5", 5), ("0.1", 1), ("2.5", 3)])
async def test_without_a_burst_it_is_what_a_second_gives(
    database: Database, accounts: AccountStore, rate: str, burst: int
) -> None:
    await accounts.ensure("ours")

    await typed(database, f"account set ours --rate {rate}")

    assert (await accounts.named("ours")).rate_limit == RateLimit(per_s=float(rate), burst=burst)


@pytest.mark.parametrize("command", ["--burst 3", "--rate 1 --no-rate-limit"])
async def test_settings_that_contradict_each_other_change_nothing(
    database: Database, accounts: AccountStore, command: str
) -> None:
    account = await accounts.ensure("ours")

    with pytest.raises(InvalidSubmission):
        await typed(database, f"account set ours --priority 1 {command}")

    assert await accounts.named("ours") == account


async def test_an_account_that_is_not_there_is_not_made_by_setting_it(database: Database) -> None:
    with pytest.raises(NotFound, match="nobody"):
        await typed(database, "account set nobody --priority 1")


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("account set ours --priority 101", "-100 to 100"),
        ("account set ours --priority 1.5", "whole number"),
        ("account set ours --rate 0", "0.001"),
        ("account set ours --rate nan", "nan"),
        ("account set ours --rate 1 --burst 0", "from 1"),
        ("keys create ours --scopes jobs:delete", "'jobs:read', 'jobs:write' and 'resources:write'"),
        ("keys create ours --expires 90", "90d"),
        ("keys create ours --expires d", "90d"),
        ("keys create ours --expires 9999d", "3650d"),
        ("keys revoke x", "id"),
        ("keys", "required"),
        ("account", "required"),
        ("apps create ours", "--public-key"),
    ],
)
def test_a_command_that_cannot_be_meant_is_told_what_is_wrong(
    capsys: pytest.CaptureFixture[str], command: str, told: str
) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(command.split())

    assert told in capsys.readouterr().err


async def test_an_app_is_created_listed_and_revoked(database: Database, key_file: Path) -> None:
    (line,) = await typed(database, f"apps create ours --public-key {key_file} --scopes jobs:read")
    app_id = line.removeprefix("app_id=")

    assert (await AppStore(database).get(app_id))[0] == key_file.read_text()
    assert (await typed(database, "apps list ours"))[1].split() == [app_id, "ours", "jobs:read", "never", "works"]
    await typed(database, f"apps revoke {app_id}")
    assert "revoked" in (await typed(database, "apps list"))[1]
    with pytest.raises(DarkroomError):
        await AppStore(database).get(app_id)


async def test_an_app_with_a_file_that_is_no_key_is_refused(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "public.pem"
    file.write_text("not a key")

    with pytest.raises(InvalidSubmission, match="PEM"):
        await typed(database, f"apps create ours --public-key {file}")


async def run(command: str, database_url: str) -> tuple[int, str, str]:
    """As a process of its own: exit status, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *command.split()),
        env={**os.environ, "DATABASE_URL": database_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


async def test_the_command_prints_what_it_did_or_one_line_of_what_is_wrong(
    database_url: str, accounts: AccountStore
) -> None:
    done = await run("keys create ours", database_url)
    refused = await run("keys revoke 99", database_url)

    assert done[0] == 0 and await accounts.knows(key_in(done[1].splitlines()))
    assert refused == (1, "", "darkroom: There is no key 99.\n")


ABLE_LINES = [
    f"  runs {', '.join(sorted(ABLE.stages))}",
    f"  draws with {len(ABLE.models)} of {len(ABLE.models)} models",
]


async def test_the_queue_is_told_with_its_workers_and_how_true_forecasts_were(
    redis: ArqRedis, servers: Servers
) -> None:
    queue, board = JobQueue(redis), OutlookBoard(redis)
    await queue.add([Waiting(i, 1, 30.0, Turn(1, 30.0)) for i in (1, 2, 3)])
    await board.tell("one:1", **MEMBER, busy_s=0, cost_s=9)
    before = await queue_lines(servers.redis_url)
    await queue.promise([(1, 0.0, Range(4.0, 60.0))])
    await JobQueue(redis, lambda: time.time() + 5).start((1, 1))

    after = await queue_lines(servers.redis_url)

    assert before == [
        "waiting: 3 jobs, 90 s of work",
        "workers: 1 alive, 1 at work",
        f"pool {NOBODY}: 90 s of work, no worker",
        "pool test: 0 s of work, 1 alive, 1 at work",
        *ABLE_LINES,
        "takes jobs: one:1, pool test",
    ]
    assert (
        after[2] == "forecasts: of 1 start, the last of each length of wait, 0% before their p50, 100% before their p90"
    )


async def test_the_queue_tells_what_all_workers_of_a_pool_can_run_and_why_not_the_rest(
    redis: ArqRedis, servers: Servers
) -> None:
    board = OutlookBoard(redis)
    large = Ability(frozenset({"INPUT_INITIALIZE", "DIFFUSION"}), {"1": "", "2": "", "3": "", "4": ""})
    small = Ability(frozenset({"DIFFUSION"}), {"1": "", "2": "", "3": "model three needs 9.0 GiB"})
    await board.tell("one:1", pool="mixed", ability=large)
    await board.tell("two:2", pool="mixed", ability=small)

    assert (await queue_lines(servers.redis_url))[3:-2] == [
        "  runs DIFFUSION",
        "  draws with 2 of 4 models; not with others:",
        "    model three needs 9.0 GiB",
        "    the workers do not know model 4",
    ]


async def test_the_queue_shows_paused_workers_and_what_undoes_each_pause(redis: ArqRedis, servers: Servers) -> None:
    board, pauses = OutlookBoard(redis), Pauses(redis)
    await JobQueue(redis).add([Waiting(1, 1, 30.0, Turn(1, 30.0), pool="test")])
    await board.tell("one:1", **MEMBER, is_paused=True)
    await board.tell("two:2", **MEMBER, busy_s=0, cost_s=9)
    await board.tell("three:3", pool="other", ability=MEMBER["ability"])
    for name in ("one:1", "two:2", "gone:4"):
        await pauses.pause(name)
    some = await queue_lines(servers.redis_url)
    await pauses.pause()

    assert some == [
        "waiting: 1 job, 30 s of work",
        "workers: 3 alive, 1 at work, 2 paused",
        "pool other: 0 s of work, 1 alive, 0 at work",
        *ABLE_LINES,
        "pool test: 30 s of work, 2 alive, 1 at work, 2 paused",
        *ABLE_LINES,
        "paused: one:1, pool test",
        "takes jobs: three:3, pool other",
        "paused, ends its job: two:2, pool test",
        "pause of one:1: `darkroom resume one:1` undoes it",
        "pause of two:2: `darkroom resume two:2` undoes it",
        "pause of gone:4, of whom nobody is alive: `darkroom resume gone:4` undoes it",
    ]
    everyone = await queue_lines(servers.redis_url)
    assert "paused: three:3, pool other" in everyone
    assert "pause of all workers: `darkroom resume` undoes it" in everyone
