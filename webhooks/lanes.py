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
# What a trusted destination may hold, in times of what it is sent at once: the others wait here for their turn, so that
# no connection waits for the database.
AHEAD = 8


@dataclass(slots=True)
class Lane:
    """One destination's: it widens by one with each good answer, and halves with each failure. What is claimed for it
    is held until it has been sent; `busy` of these are being sent."""

    limit: int = FIRST_LIMIT
    busy: int = 0
    held: int = 0
    is_trusted: bool = False

    @property
    def depth(self) -> int:
        return self.limit * AHEAD if self.is_trusted else self.limit

    @property
    def room(self) -> int:
        return max(0, self.depth - self.held)

    @property
    def is_worth_keeping(self) -> bool:
        return bool(self.held) or self.is_trusted or self.limit > FIRST_LIMIT


class Lanes:
    """Destinations whose last answer was not good and quick share half of all connections, however many they are: so
    one that answers well always finds the other half. In each half those go first that hold the least."""

    def __init__(self, *, concurrency: int, per_destination: int) -> None:
        self._concurrency = concurrency
        self._per_destination = per_destination
        self._lanes: dict[int, Lane] = {}
        self._held = 0

    def rooms(self) -> Rooms:
        strangers = sum(lane.held for lane in self._lanes.values() if not lane.is_trusted)
        free = self._concurrency - self._held
        return Rooms(
            limit=free,
            strangers=max(0, min(free, MAX_STRANGERS_AT_ONCE, (self._concurrency + 1) // 2 - strangers)),
            each=FIRST_LIMIT,
            known={id: Room(lane.room, lane.held, lane.is_trusted) for id, lane in self._lanes.items()},
        )

    def enter(self, destination_id: int) -> None:
        self._held += 1
        self._lanes.setdefault(destination_id, Lane()).held += 1

    def begin(self, destination_id: int) -> bool:
        """Whether one more may be sent now; then it counts as being sent."""
        lane = self._lanes.get(destination_id)
        if lane is None or lane.busy >= lane.limit:
            return False
        lane.busy += 1
        return True

    def end(self, destination_id: int, *, well: bool | None, quick: bool = True) -> None:
        """`well` is None where nothing was sent, and so nothing was learned."""
        # Taken out and put back at the end, so that the first ones are those that were not used for longest.
        lane = self._lanes[destination_id] = self._lanes.pop(destination_id)
        lane.busy -= 1
        if well is not None:
            lane.is_trusted = well and quick
            lane.limit = min(lane.limit + 1, self._per_destination) if well else max(lane.limit // 2, FIRST_LIMIT)

    def leave(self, destination_id: int) -> None:
        self._held -= 1
        lane = self._lanes[destination_id]
        lane.held -= 1
        if not lane.is_worth_keeping:
            del self._lanes[destination_id]
        self._forget_oldest()

    def is_trusted(self, destination_id: int) -> bool:
        lane = self._lanes.get(destination_id)
        return lane is not None and lane.is_trusted

    def is_half_empty(self, destination_id: int) -> bool:
        """So that it is worth the while to claim more for it."""
        lane = self._lanes.get(destination_id)
        return lane is None or lane.held * 2 <= lane.depth

    def _forget_oldest(self) -> None:
        if len(self._lanes) > MAX_LANES:
            idle = (id for id, lane in self._lanes.items() if not lane.held)
            self._lanes.pop(next(idle, -1), None)
