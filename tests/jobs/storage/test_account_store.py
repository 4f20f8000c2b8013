"""Accounts, what they may do, and the lives of their keys."""

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from jobs.account import ALL_SCOPES, RateLimit
from jobs.errors import InvalidSubmission, NotAuthenticated, NotFound
from jobs.storage.account_store import AccountStore
from jobs.storage.database import Database
from tests.jobs.storage.conftest import Rows


@pytest.fixture
def accounts(database: Database) -> AccountStore:
    return AccountStore(database)


async def test_a_key_leads_to_its_account(accounts: AccountStore) -> None:
    ours, theirs = await accounts.ensure("ours"), await accounts.ensure("theirs")
    keys = [await accounts.new_key(account.id) for account in (ours, theirs, ours)]

    assert [(await accounts.grant_of(key))[1].account for key in keys] == [ours, theirs, ours]
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
        await accounts.grant_of(key)
    assert not await accounts.knows(key)


async def test_a_revoked_key_is_refused(accounts: AccountStore, rows: Rows) -> None:
    key = await accounts.new_key((await accounts.ensure("ours")).id)
    assert await accounts.knows(key)

    await rows("UPDATE api_keys SET revoked_at = now()")

    with pytest.raises(NotAuthenticated, match="revoked"):
        await accounts.grant_of(key)


async def test_a_key_has_the_scopes_it_was_given_or_all(accounts: AccountStore) -> None:
    account = await accounts.ensure("ours")
    keys = [await accounts.new_key(account.id, scopes=["jobs:read"]), await accounts.new_key(account.id)]

    assert [(await accounts.grant_of(key))[1].scopes for key in keys] == [{"jobs:read"}, ALL_SCOPES]


async def test_a_key_works_until_it_expires(accounts: AccountStore) -> None:
    account = await accounts.ensure("ours")
    living = await accounts.new_key(account.id, lifetime=timedelta(hours=1))
    dead = await accounts.new_key(account.id, lifetime=timedelta(seconds=-1))

    assert await accounts.knows(living)
    with pytest.raises(NotAuthenticated, match="expired"):
        await accounts.grant_of(dead)


async def test_a_key_that_was_rotated_works_for_the_overlap(accounts: AccountStore, rows: Rows) -> None:
    account = await accounts.ensure("ours")
    old = await accounts.new_key(account.id, scopes=["jobs:read"])
    (listed,) = await accounts.keys("ours")

    new = await accounts.rotate_key(listed.id, timedelta(hours=1))

    assert await accounts.knows(old)
    assert (await accounts.grant_of(new))[1] == (await accounts.grant_of(old))[1]
    await rows("UPDATE api_keys SET expires_at = expires_at - interval '1 hour' WHERE id = $1", listed.id)
    assert not await accounts.knows(old) and await accounts.knows(new)


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(accounts: AccountStore) -> None:
    old = await accounts.new_key((await accounts.ensure("ours")).id)

    new = await accounts.rotate_key((await accounts.keys())[0].id, timedelta(0))

    assert not await accounts.knows(old) and await accounts.knows(new)


async def test_a_rotation_never_lengthens_the_life_of_the_old_key_and_gives_the_new_one_as_long(
    accounts: AccountStore,
) -> None:
    await accounts.new_key((await accounts.ensure("ours")).id, lifetime=timedelta(hours=1))
    (before,) = await accounts.keys()

    await accounts.rotate_key(before.id, timedelta(hours=24))

    old, new = await accounts.keys()
    assert old.expires_at == before.expires_at and old.replaced_by == new.id
    assert new.expires_at is not None and new.expires_at - new.created_at == timedelta(hours=1)


@pytest.mark.parametrize("change", ["revoked_at = now()", "expires_at = now()"])
async def test_a_key_that_does_not_work_is_not_rotated(accounts: AccountStore, rows: Rows, change: str) -> None:
    await accounts.new_key((await accounts.ensure("ours")).id)
    await rows(f"UPDATE api_keys SET {change}")

    with pytest.raises(InvalidSubmission, match="revoked"):
        await accounts.rotate_key((await accounts.keys())[0].id, timedelta(hours=1))

    assert len(await accounts.keys()) == 1


async def test_of_two_rotations_at_once_one_makes_a_key(accounts: AccountStore) -> None:
    await accounts.new_key((await accounts.ensure("ours")).id)
    key_id = (await accounts.keys())[0].id

    answers = await asyncio.gather(
        *(accounts.rotate_key(key_id, timedelta(hours=1)) for _ in range(2)), return_exceptions=True
    )

    assert sorted(type(answer) for answer in answers if not isinstance(answer, str)) == [InvalidSubmission]
    assert len(await accounts.keys()) == 2


async def test_a_revocation_is_kept_as_it_was_first_made(accounts: AccountStore) -> None:
    key = await accounts.new_key((await accounts.ensure("ours")).id)
    key_id = (await accounts.keys())[0].id

    await accounts.revoke_key(key_id)
    (first,) = await accounts.keys()
    await accounts.revoke_key(key_id)

    assert await accounts.keys() == [first] and first.revoked_at is not None
    assert not await accounts.knows(key)


async def test_a_key_that_is_not_there_cannot_be_revoked_or_rotated(accounts: AccountStore) -> None:
    with pytest.raises(NotFound, match="99"):
        await accounts.revoke_key(99)
    with pytest.raises(NotFound, match="99"):
        await accounts.rotate_key(99, timedelta(0))


async def test_keys_are_listed_by_account(accounts: AccountStore) -> None:
    for name in ("ours", "theirs", "ours"):
        await accounts.new_key((await accounts.ensure(name)).id)

    assert [key.account for key in await accounts.keys()] == ["ours", "theirs", "ours"]
    assert [key.account for key in await accounts.keys("theirs")] == ["theirs"]


async def test_the_last_use_never_goes_back(accounts: AccountStore) -> None:
    await accounts.new_key((await accounts.ensure("ours")).id)
    key_id, at = (await accounts.keys())[0].id, datetime(2026, 1, 1, tzinfo=UTC)

    for moment in (at, at + timedelta(minutes=1), at):
        await accounts.note_used({key_id: moment})

    assert (await accounts.keys())[0].last_used_at == at + timedelta(minutes=1)


async def test_what_is_set_for_an_account_comes_with_its_keys(accounts: AccountStore) -> None:
    account = await accounts.ensure("ours")
    key = await accounts.new_key(account.id)
    assert (account.priority, account.rate_limit) == (0, None)

    await accounts.set_priority(account.id, -3)
    await accounts.set_rate_limit(account.id, RateLimit(per_s=0.5, burst=20))

    _, grant = await accounts.grant_of(key)
    assert (grant.account.priority, grant.account.rate_limit) == (-3, RateLimit(per_s=0.5, burst=20))
    await accounts.set_rate_limit(account.id, None)
    assert (await accounts.named("ours")).rate_limit is None


async def test_a_priority_out_of_bounds_is_refused_by_the_database_too(accounts: AccountStore) -> None:
    account = await accounts.ensure("ours")

    with pytest.raises(asyncpg.CheckViolationError):
        await accounts.set_priority(account.id, 101)


async def test_an_account_that_is_not_there_is_not_made_by_asking(accounts: AccountStore) -> None:
    with pytest.raises(NotFound, match="ours"):
        await accounts.named("ours")
