"""How much each destination may be sent at once, learned from its answers. It knows no address and no clock.

Each process keeps its own: what a slow receiver uses up are a process's connections, so n processes give it n times
as many, as they give everybody. What all processes must agree on, that a destination is closed, is in PostgreSQL.
"""

from dataclasses import dataclass

from jobs.storage.delivery_store import Room, Rooms

FIRST_LIMIT = 1
MAX_LANES = 10_000
# Not more at a time, so that what comes for the trusted meanwhile is not behind a crowd.
MAX_STRANGERS_AT_ONCE = 16


@dataclass(slots=True)
class Lane:
    """One destination's: it widens by one with each good answer, and halves with each failure."""

    limit: int = FIRST_LIMIT
    busy: int = 0
    is_trusted: bool = False


class Lanes:
    """Destinations whose last answer was not good and quick share half of all connections, however many they are: so
    one that answers well always finds the other half. In each half those go first that have the least under way."""

    def __init__(self, *, concurrency: int, per_destination: int) -> None:
        self._concurrency = concurrency
        self._per_destination = per_destination
        self._lanes: dict[int, Lane] = {}
        self._busy = 0

    def rooms(self) -> Rooms:
        strangers = sum(lane.busy for lane in self._lanes.values() if not lane.is_trusted)
        free = self._concurrency - self._busy
        return Rooms(
            limit=free,
            strangers=max(0, min(free, MAX_STRANGERS_AT_ONCE, (self._concurrency + 1) // 2 - strangers)),
            each=FIRST_LIMIT,
            known={
                id: Room(max(0, lane.limit - lane.busy), lane.busy, lane.is_trusted) for id, lane in self._lanes.items()
            },
        )

    def enter(self, destination_id: int) -> None:
        self._busy += 1
        self._lanes.setdefault(destination_id, Lane()).busy += 1

    def leave(self, destination_id: int, *, well: bool | None, quick: bool = True) -> None:
        """`well` is None where nothing was sent, and so nothing was learned."""
        # Taken out and put back at the end, so that the first ones are those that were not used for longest.
        lane = self._lanes.pop(destination_id)
        self._busy -= 1
        lane.busy -= 1
        if well is not None:
            lane.is_trusted = well and quick
            lane.limit = min(lane.limit + 1, self._per_destination) if well else max(lane.limit // 2, FIRST_LIMIT)
        if lane.busy or lane.is_trusted or lane.limit > FIRST_LIMIT:
            self._lanes[destination_id] = lane
        self._forget_oldest()

    def _forget_oldest(self) -> None:
        if len(self._lanes) > MAX_LANES:
            idle = (id for id, lane in self._lanes.items() if not lane.busy)
            self._lanes.pop(next(idle, -1), None)
