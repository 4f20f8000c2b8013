"""What waits for its turn: first come first, and not for long."""

from dataclasses import dataclass
from uuid import UUID

from tests.webhooks.samples import delivery
from webhooks.backlog import Backlog

FAST, SLOW = 1, 2


@dataclass
class Clock:
    now: float = 0

    def __call__(self) -> float:
        return self.now


def next_id(backlog: Backlog, destination_id: int) -> UUID | None:
    claimed = backlog.next(destination_id)
    return claimed.delivery.id if claimed else None


def test_each_destination_has_a_line_of_its_own() -> None:
    backlog = Backlog(within_s=5, clock=Clock())
    first, second, other = delivery(FAST), delivery(FAST), delivery(SLOW)
    for each in (first, second, other):
        backlog.put(each, None)

    taken = [next_id(backlog, FAST) for _ in range(3)] + [next_id(backlog, SLOW)]

    assert taken == [first.id, second.id, None, other.id]


def test_what_has_waited_for_too_long_is_not_sent_but_given_back() -> None:
    clock = Clock()
    backlog = Backlog(within_s=5, clock=clock)
    late, fresh = delivery(FAST), delivery(FAST)
    backlog.put(late, None)
    clock.now = 6
    backlog.put(fresh, None)

    assert next_id(backlog, FAST) is None
    assert backlog.take_late(lambda _: False) == [late]
    assert next_id(backlog, FAST) == fresh.id


def test_what_waits_for_a_destination_that_is_held_up_is_given_back() -> None:
    backlog = Backlog(within_s=5, clock=Clock())
    slow, fast = delivery(SLOW), delivery(FAST)
    backlog.put(slow, None)
    backlog.put(fast, None)

    assert backlog.take_late(lambda id: id == SLOW) == [slow]
    assert backlog.take_all() == [fast]
