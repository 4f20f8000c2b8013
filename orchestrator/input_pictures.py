"""How large the uploaded pictures are that a job names. It opens none."""

from collections.abc import Collection
from typing import TypeAlias
from uuid import UUID

from jobs.stages.canvas import Size
from jobs.storage.resource_store import ResourceStore

OfAccount: TypeAlias = tuple[int, str]
"""An account, and what it calls a resource."""


async def sizes_of(resources: ResourceStore, named: Collection[OfAccount]) -> dict[OfAccount, Size]:
    """Of those that are there. What is no id names nothing."""
    ids = {each: (each[0], resource_id) for each in named if (resource_id := _id(each[1]))}
    found = await resources.sizes(list(ids.values())) if ids else {}
    return {each: found[of_account] for each, of_account in ids.items() if of_account in found}


def _id(name: str) -> UUID | None:
    try:
        return UUID(name)
    except ValueError:
        return None
