"""Apps in PostgreSQL: clients that sign each request with a private key of their own. Only public keys are kept."""

import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from jobs.account import ALL_SCOPES, Grant
from jobs.errors import NotAuthenticated, NotFound
from jobs.storage.account_store import grant_from
from jobs.storage.database import Database, queries, rows_of


@dataclass(frozen=True, slots=True, kw_only=True)
class AppRecord:
    id: str
    account: str
    scopes: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class AppStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, account_id: int, public_key: str, *, scopes: Collection[str] = ALL_SCOPES) -> str:
        """The id of a new app. `public_key` is a PEM that was found good."""
        app_id = secrets.token_hex(8)
        async with self._database.connection() as connection:
            await queries.add_app(
                connection, id=app_id, account_id=account_id, public_key=public_key, scopes=sorted(scopes)
            )
        return app_id

    async def get(self, app_id: str) -> tuple[str, Grant]:
        """The app's public key, and what it stands for. Raises NotAuthenticated."""
        async with self._database.connection() as connection:
            row = await queries.app_by_id(connection, id=app_id)
        if row is None:
            raise NotAuthenticated(f"The app {app_id!r} is unknown or was revoked.")
        return row["public_key"], grant_from(row)

    async def revoke(self, app_id: str) -> None:
        """Raises NotFound."""
        async with self._database.connection() as connection:
            if await queries.revoke_app(connection, id=app_id) is None:
                raise NotFound(f"There is no app {app_id!r}.")

    async def apps(self, account: str | None = None) -> list[AppRecord]:
        """Of the account of this name, or of all."""
        async with self._database.connection() as connection:
            rows = await rows_of(queries.apps_of(connection, account=account))
        return [AppRecord(**{**row, "scopes": tuple(row["scopes"])}) for row in rows]

    async def note_used(self, times: Mapping[str, datetime]) -> None:
        """When apps, by id, were used last."""
        async with self._database.connection() as connection:
            await queries.note_apps_used(connection, ids=list(times), times=list(times.values()))
