"""How large the uploaded pictures are that a job names. It opens none."""

from collections.abc import Collection
from uuid import UUID

from jobs.stages.canvas import Size
from jobs.storage.resource_store import ResourceStore


async def sizes_of(resources: ResourceStore, account_id: int, names: Collection[str]) -> dict[str, Size]:
    """By name, of those that are there. What is no id names nothing."""
    ids = {name: resource_id for name in names if (resource_id := _id(name))}
    found = await resources.sizes(account_id, list(ids.values())) if ids else {}
    return {name: found[resource_id] for name, resource_id in ids.items() if resource_id in found}


def _id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
