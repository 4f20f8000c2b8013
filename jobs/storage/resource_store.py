"""Which pictures an account has uploaded or been given, in PostgreSQL. The bytes are in `files`."""

from collections.abc import Sequence
from datetime import timedelta
from uuid import UUID, uuid4

from jobs.errors import NotFound
from jobs.job import Image
from jobs.stages.canvas import Size
from jobs.storage.database import Database, queries
from jobs.storage.job_rows import image_of


class ResourceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_upload(self, account_id: int, *, open_for: timedelta, kept_for: timedelta | None) -> UUID:
        """A resource that waits `open_for` its bytes, and is `kept_for` when they have come; None is for ever."""
        resource_id = uuid4()
        async with self._database.connection() as connection:
            await queries.add_upload(
                connection, id=resource_id, account_id=account_id, open_for=open_for, kept_for=kept_for
            )
        return resource_id

    async def check_open(self, resource_id: UUID, key: str) -> None:
        """Raises NotFound where `store_upload` would."""
        async with self._database.connection() as connection:
            if not await queries.may_store(connection, id=resource_id, key=key):
                raise _takes_none(resource_id)

    async def store_upload(self, image: Image) -> None:
        """Says where the bytes are. Raises NotFound if the resource takes none, or has others."""
        async with self._database.connection() as connection:
            row = await queries.store_upload(
                connection, id=image.id, key=image.key, format=image.format, width=image.width, height=image.height
            )
        if row is None:
            raise _takes_none(image.id)

    async def get_any(self, resource_id: UUID) -> Image:
        """For links that were signed for one resource. Raises NotFound."""
        async with self._database.connection() as connection:
            return _image(await queries.stored_resource(connection, id=resource_id), resource_id)

    async def get(self, account_id: int, resource_id: UUID) -> Image:
        """Raises NotFound, also for another account's resource and for one that has no bytes yet."""
        async with self._database.connection() as connection:
            row = await queries.stored_resource_of_account(connection, id=resource_id, account_id=account_id)
            return _image(row, resource_id)

    async def sizes(self, named: Sequence[tuple[int, UUID]]) -> dict[tuple[int, UUID], Size]:
        """Width and height of those, by account and id, that `get` would give."""
        account_ids, ids = (list(each) for each in zip(*named, strict=True))
        async with self._database.connection() as connection:
            rows = queries.sizes_of_resources(connection, account_ids=account_ids, ids=ids)
            return {(row["account_id"], row["id"]): (row["width"], row["height"]) async for row in rows}

    async def get_input(self, account_id: int, resource_id: UUID) -> Image:
        """For a job that was accepted: also what has expired since, and is kept for it. Raises NotFound."""
        async with self._database.connection() as connection:
            row = await queries.input_of_account(connection, id=resource_id, account_id=account_id)
            return _image(row, resource_id)


def _takes_none(resource_id: UUID) -> NotFound:
    return NotFound(f"There is no resource {resource_id} without a picture.")


def _image(row: object, resource_id: UUID) -> Image:
    if row is None:
        raise NotFound(f"There is no resource {resource_id}, or it has no picture yet or no longer.")
    return image_of(row)
