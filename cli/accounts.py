"""Accounts from the command line."""

import base64

from jobs.storage.account_store import Account, AccountStore
from jobs.storage.database import open_database


async def new_key(database_url: str, name: str) -> tuple[str, str]:
    """A fresh API key for the account of this name, and its webhook secret as receivers write it."""
    async with open_database(database_url, connections=1) as database:
        accounts = AccountStore(database)
        account = await accounts.ensure(name)
        return await accounts.new_key(account.id), written_secret(account)


def written_secret(account: Account) -> str:
    """Standard Webhooks' form of a secret."""
    return f"whsec_{base64.b64encode(account.webhook_secret).decode()}"
