import asyncio

import pytest

from jobs.errors import NotAuthenticated
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from tests.jobs.storage.conftest import Rows


@pytest.fixture
def accounts(database: Database) -> AccountStore:
    return AccountStore(database)


async def test_a_key_leads_to_its_account(accounts: AccountStore) -> None:
    ours, theirs = await accounts.ensure("ours"), await accounts.ensure("theirs")
    keys = [await accounts.new_key(account.id) for account in (ours, theirs, ours)]

    assert [await accounts.account_of(key) for key in keys] == [ours.id, theirs.id, ours.id]
    assert len(set(keys)) == 3


async def test_the_account_of_a_name_is_made_once_even_by_many_at_once(accounts: AccountStore) -> None:
    made = await asyncio.gather(*(accounts.ensure("ours") for _ in range(8)))

    assert len({(account.id, account.webhook_secret) for account in made}) == 1
    assert len(made[0].webhook_secret) == 32


async def test_only_a_hash_and_a_short_beginning_of_a_key_are_kept(accounts: AccountStore, rows: Rows) -> None:
    key = await accounts.new_key((await accounts.ensure("ours")).id)

    (row,) = await rows("SELECT hash, prefix, api_keys::text AS everything FROM api_keys")

    assert key not in row["everything"] and key.encode().hex() not in row["everything"]
    assert len(row["hash"]) == 32
    assert key.startswith(row["prefix"]) and len(row["prefix"]) <= 10 < len(key) - 30


@pytest.mark.parametrize("key", ["", "dk_", "dk_unknown", "é", "\udcff", "x" * 10_000])
async def test_an_unknown_key_is_refused(accounts: AccountStore, key: str) -> None:
    with pytest.raises(NotAuthenticated):
        await accounts.account_of(key)
    assert not await accounts.knows(key)


async def test_a_revoked_key_is_refused(accounts: AccountStore, rows: Rows) -> None:
    key = await accounts.new_key((await accounts.ensure("ours")).id)
    assert await accounts.knows(key)

    await rows("UPDATE api_keys SET revoked_at = now()")

    with pytest.raises(NotAuthenticated, match="revoked"):
        await accounts.account_of(key)
