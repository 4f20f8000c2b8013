"""Which pictures an account has uploaded or been given, in PostgreSQL. The bytes are in `files`."""

from datetime import timedelta
from uuid import UUID, uuid4

from jobs.errors import NotFound
from jobs.job import Image
from jobs.storage.database import Database, queries
from jobs.storage.job_store import image_of


class ResourceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add_upload(self, account_id: int, lifetime: timedelta | None) -> UUID:
        """A resource that waits for its bytes. `lifetime` None keeps it for ever."""
        resource_id = uuid4()
        async with self._database.connection() as connection:
            await queries.add_upload(connection, id=resource_id, account_id=account_id, lifetime=lifetime)
        return resource_id

    async def store_upload(self, image: Image) -> None:
        """Says where the bytes are. Raises NotFound if the resource is none that takes bytes."""
        async with self._database.connection() as connection:
            row = await queries.store_upload(
                connection, id=image.id, key=image.key, format=image.format, width=image.width, height=image.height
            )
        if row is None:
            raise NotFound(f"There is no resource {image.id} without a picture.")

    async def get_any(self, resource_id: UUID) -> Image:
        """For links that were signed for one resource. Raises NotFound."""
        async with self._database.connection() as connection:
            return _image(await queries.stored_resource(connection, id=resource_id), resource_id)

    async def get(self, account_id: int, resource_id: UUID) -> Image:
        """Raises NotFound, also for another account's resource and for one that has no bytes yet."""
        async with self._database.connection() as connection:
            row = await queries.stored_resource_of_account(connection, id=resource_id, account_id=account_id)
            return _image(row, resource_id)


def _image(row: object, resource_id: UUID) -> Image:
    if row is None:
        raise NotFound(f"There is no resource {resource_id}, or its picture was not uploaded yet.")
    return image_of(row)
