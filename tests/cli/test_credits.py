"""`darkroom grant` and `darkroom account set`, as an operator types them."""

import asyncio
import sys

import pytest

from cli.__main__ import main
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database


@pytest.fixture(autouse=True)
async def account(database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    await AccountStore(database).ensure("ours")
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setattr("signal.signal", lambda *_: None)  # the command runs in a thread here


async def darkroom(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["darkroom", *words])
    await asyncio.to_thread(main)


async def test_what_is_set_and_granted_is_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await darkroom(monkeypatch, "grant", "ours", "100.5", "--note", "invoice 7")
    await darkroom(monkeypatch, "grant", "ours", "-0.5")
    await darkroom(monkeypatch, "account", "set", "ours", "--enforce-credits", "--max-waiting", "5", "--max-running=2")
    await darkroom(monkeypatch, "account", "set", "ours", "--no-enforce-credits", "--max-waiting", "none")

    told = [line for line in capsys.readouterr().out.splitlines() if "credits" in line]
    assert told == [
        "ours: 100.5000 credits, 0.0000 of them held, not enforced; 0 jobs waiting, 0 running",
        "ours: 100.0000 credits, 0.0000 of them held, not enforced; 0 jobs waiting, 0 running",
        "ours: 100.0000 credits, 0.0000 of them held, enforced; 0 jobs waiting of at most 5, 0 running of at most 2",
        "ours: 100.0000 credits, 0.0000 of them held, not enforced; 0 jobs waiting, 0 running of at most 2",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("grant", "nobody", "1"), "There is no account 'nobody'"),
        (("grant", "ours", "0"), "an amount is not 0"),
        (("grant", "ours", "nan"), "an amount is not 0"),
        (("grant", "ours", "0.00001"), "at most 4 decimals"),
        (("grant", "ours", "1e300"), "an amount"),
        (("grant", "ours", "ten"), "'ten' is no number"),
        (("account", "set", "ours", "--max-waiting", "-1"), "'-1' is neither 'none' nor a number"),
        (("account", "set", "ours", "--max-running", "many"), "'many' is neither 'none' nor a number"),
        (("account", "set", "nobody"), "There is no account 'nobody'"),
    ],
)
async def test_a_mistake_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        await darkroom(monkeypatch, *words)

    assert told in f"{ended.value.code}{capsys.readouterr().err}"
