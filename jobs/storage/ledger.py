"""What accounts are given and may do, in PostgreSQL. What jobs hold and are charged, triggers keep (migration 0002)."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from jobs.standing import Limits, Standing
from jobs.storage.account_store import no_account
from jobs.storage.database import Connection, Database, queries, rows_of


class Ledger:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def standing(self, account: str) -> Standing:
        """Of the account of this name. Raises NotFound."""
        async with self._database.connection() as connection:
            return _standing(await _row(connection, account))

    async def grant(self, account: str, amount: Decimal, note: str | None = None) -> Standing:
        """Adds credits, or takes some back where `amount` is negative. Raises NotFound."""
        async with self._database.transaction() as connection:
            kind = "GRANT" if amount > 0 else "ADJUST"
            await queries.add_to_ledger(connection, name=account, kind=kind, amount=amount, note=note)
            return _standing(await _row(connection, account))

    async def limit(self, account: str, changes: Mapping[str, Any]) -> Standing:
        """Sets the named fields of the account's Limits, and leaves the others. Raises NotFound."""
        async with self._database.transaction() as connection:
            account_id = (await _row(connection, account))["id"]
            standing = (await locked_standings(connection, {account_id}))[account_id]
            limits = replace(standing.limits, **changes)
            await queries.set_limits(
                connection,
                account_id=account_id,
                credits_enforced=limits.credits_enforced,
                max_waiting=limits.max_waiting,
                max_running=limits.max_running,
            )
            return replace(standing, limits=limits)


async def locked_standings(connection: Connection, account_ids: set[int]) -> dict[int, Standing]:
    """By account id; nobody else changes them before the transaction ends."""
    rows = await rows_of(queries.locked_standings(connection, account_ids=sorted(account_ids)))
    return {row["id"]: _standing(row) for row in rows}


async def _row(connection: Connection, account: str) -> Any:
    row = await queries.standing_of_account(connection, name=account)
    if row is None:
        raise await no_account(connection, account)
    return row


def _standing(row: Any) -> Standing:
    limits = Limits(
        credits_enforced=row["credits_enforced"], max_waiting=row["max_waiting"], max_running=row["max_running"]
    )
    return Standing(
        balance=row["balance"], held=row["held"], waiting=row["waiting"], running=row["running"], limits=limits
    )
