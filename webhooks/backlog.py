"""What was claimed and waits for its turn to be sent, by destination. It knows no database."""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from jobs.job import ToldJob
from jobs.storage.delivery_store import Delivery


@dataclass(frozen=True, slots=True)
class Claimed:
    """A delivery with the job that it tells of, and when the clock showed that it was taken."""

    delivery: Delivery
    job: ToldJob | None
    at: float


class Backlog:
    """In the order of claims. What has waited for longer than `within_s` is not given: it ought to be given back."""

    def __init__(self, *, within_s: float, clock: Callable[[], float]) -> None:
        self._within_s = within_s
        self._clock = clock
        self._waiting: dict[int, deque[Claimed]] = {}

    def put(self, delivery: Delivery, job: ToldJob | None) -> None:
        claimed = Claimed(delivery, job, self._clock())
        self._waiting.setdefault(delivery.destination_id, deque()).append(claimed)

    def next(self, destination_id: int) -> Claimed | None:
        """Takes out the oldest one."""
        waiting = self._waiting.get(destination_id)
        if not waiting or self._is_late(waiting[0]):
            return None
        first = waiting.popleft()
        if not waiting:
            del self._waiting[destination_id]
        return first

    def take_late(self, is_held_up: Callable[[int], bool]) -> list[Delivery]:
        """Takes out what has waited for too long, and all of destinations that are held up."""
        return self._take(
            each
            for destination_id, waiting in self._waiting.items()
            for each in waiting
            if self._is_late(each) or is_held_up(destination_id)
        )

    def take_all(self) -> list[Delivery]:
        return self._take(self)

    def take(self, ids: Collection[UUID]) -> list[Delivery]:
        return self._take(each for each in self if each.delivery.id in ids)

    def __iter__(self) -> Iterator[Claimed]:
        return (each for waiting in self._waiting.values() for each in waiting)

    def _take(self, chosen: Iterable[Claimed]) -> list[Delivery]:
        taken = [each.delivery for each in chosen]
        ids = {each.id for each in taken}
        for id, waiting in list(self._waiting.items()) if ids else ():
            left = deque(each for each in waiting if each.delivery.id not in ids)
            self._waiting[id] = left
            if not left:
                del self._waiting[id]
        return taken

    def _is_late(self, claimed: Claimed) -> bool:
        return self._clock() - claimed.at > self._within_s
