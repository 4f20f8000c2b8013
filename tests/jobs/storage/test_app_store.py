from datetime import UTC, datetime

import pytest

from jobs.account import ALL_SCOPES
from jobs.errors import NotAuthenticated, NotFound
from jobs.storage.account_store import AccountStore
from jobs.storage.app_store import AppStore
from jobs.storage.database import Database


@pytest.fixture
def apps(database: Database) -> AppStore:
    return AppStore(database)


async def test_an_app_leads_to_its_key_and_its_account(apps: AppStore, database: Database) -> None:
    account = await AccountStore(database).ensure("ours")
    ids = [await apps.add(account.id, "a key"), await apps.add(account.id, "another", scopes=["jobs:read"])]

    (first_key, first), (second_key, second) = [await apps.get(app_id) for app_id in ids]

    assert (first_key, first.account, first.scopes) == ("a key", account, ALL_SCOPES)
    assert (second_key, second.account, second.scopes) == ("another", account, {"jobs:read"})


async def test_an_app_that_is_revoked_or_unknown_is_refused(apps: AppStore, account_id: int) -> None:
    revoked = await apps.add(account_id, "a key")
    await apps.revoke(revoked)

    for app_id in (revoked, "unknown"):
        with pytest.raises(NotAuthenticated, match=app_id):
            await apps.get(app_id)
    with pytest.raises(NotFound, match="unknown"):
        await apps.revoke("unknown")


async def test_apps_are_listed_by_account_with_their_last_use(apps: AppStore, database: Database) -> None:
    accounts = AccountStore(database)
    ours, theirs = [await apps.add((await accounts.ensure(name)).id, "a key") for name in ("ours", "theirs")]
    at = datetime(2026, 1, 1, tzinfo=UTC)

    await apps.note_used({ours: at})

    assert {(app.id, app.account, app.last_used_at) for app in await apps.apps()} == {
        (ours, "ours", at),
        (theirs, "theirs", None),
    }
    assert [app.id for app in await apps.apps("theirs")] == [theirs]
