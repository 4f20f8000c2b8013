"""Which stages' outputs are kept, in PostgreSQL, by content address. The pictures are in `files`."""

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from jobs.storage.database import Database, queries, rows_of


class StageOutput(NamedTuple):
    """An address within an account."""

    account_id: int
    address: bytes

    @property
    def folder(self) -> str:
        return f"stages/{self.account_id}/{self.address.hex()}"


class StageStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, output: StageOutput, canvas: dict[str, Any], *, kept: timedelta) -> None:
        """Before its pictures are stored. `canvas` is JSON."""
        async with self._database.connection() as connection:
            await queries.keep_stage_output(connection, **output._asdict(), canvas=json.dumps(canvas), kept=kept)

    async def find(self, account_id: int, addresses: Sequence[bytes], *, kept: timedelta) -> dict[bytes, Any]:
        """The canvases of those that are there; they are kept for longer then."""
        async with self._database.connection() as connection:
            found = queries.kept_stage_outputs(connection, kept=kept, account_id=account_id, addresses=list(addresses))
            return {row["address"]: json.loads(row["canvas"]) for row in await rows_of(found)}
