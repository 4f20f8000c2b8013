"""Who answers well gets more at once; all who do not share half of the connections."""

from jobs.storage.delivery_store import Room
from webhooks.lanes import AHEAD, Lanes

FAST, SLOW = 1, 2


def use(lanes: Lanes, destination_id: int, *answers: bool | None, quick: bool = True) -> None:
    for well in answers:
        lanes.enter(destination_id)
        assert lanes.begin(destination_id)
        lanes.end(destination_id, well=well, quick=quick)
        lanes.leave(destination_id)


def width(lanes: Lanes, destination_id: int) -> int:
    """How many it may be sent at once."""
    lanes.enter(destination_id)
    begun = 0
    while lanes.begin(destination_id):
        begun += 1
    for _ in range(begun):
        lanes.end(destination_id, well=None)
    lanes.leave(destination_id)
    return begun


def test_a_lane_widens_with_each_good_answer_up_to_its_bound_and_halves_with_a_bad_one() -> None:
    lanes = Lanes(concurrency=100, per_destination=8)

    widths = []
    for well in (True, True, True, *(True,) * 9, False, False, False, False, True):
        use(lanes, FAST, well)
        widths.append(width(lanes, FAST))

    assert widths == [2, 3, 4, *(5, 6, 7, 8, 8, 8, 8, 8, 8), 4, 2, 1, 1, 2]


def test_what_is_held_is_no_room() -> None:
    lanes = Lanes(concurrency=100, per_destination=8)
    use(lanes, FAST, True, True)

    for _ in range(2):
        lanes.enter(FAST)

    rooms = lanes.rooms()
    assert rooms.known[FAST] == Room(3 * AHEAD - 2, 2, True)
    assert (rooms.limit, rooms.strangers) == (98, 16)


def test_what_is_claimed_ahead_is_not_sent_before_its_turn() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)
    use(lanes, FAST, True)
    for _ in range(4):
        lanes.enter(FAST)

    assert [lanes.begin(FAST) for _ in range(3)] == [True, True, False]
    lanes.end(FAST, well=False)
    assert lanes.begin(FAST) is False, "it is narrower now"


def test_nothing_is_claimed_ahead_for_a_stranger() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)
    use(lanes, SLOW, True, True, quick=False)

    lanes.enter(SLOW)

    assert lanes.rooms().known[SLOW] == Room(2, 1, False)


def test_more_is_fetched_when_half_of_what_may_be_held_has_gone() -> None:
    lanes = Lanes(concurrency=100, per_destination=1)
    use(lanes, FAST, True)
    for _ in range(AHEAD):
        lanes.enter(FAST)

    found = []
    for _ in range(AHEAD):
        found.append(lanes.is_half_empty(FAST))
        lanes.leave(FAST)

    assert found == [False] * (AHEAD // 2) + [True] * (AHEAD // 2)


def test_strangers_leave_half_to_the_trusted() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)
    use(lanes, FAST, True)

    for stranger in range(100, 105):
        lanes.enter(stranger)

    rooms = lanes.rooms()
    assert (rooms.limit, rooms.strangers) == (5, 0)


def test_a_destination_that_no_longer_answers_well_is_a_stranger_again() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)
    use(lanes, SLOW, True, True)

    lanes.enter(SLOW)
    use(lanes, SLOW, False)

    rooms = lanes.rooms()
    assert not rooms.known[SLOW].is_trusted and rooms.strangers == 4


def test_a_good_answer_that_was_slow_widens_the_lane_among_strangers() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)

    use(lanes, SLOW, True, True, quick=False)

    assert lanes.rooms().known[SLOW] == Room(3, 0, False)


def test_where_nothing_was_sent_nothing_is_learned() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)
    use(lanes, FAST, True)

    use(lanes, FAST, None)

    assert lanes.rooms().known[FAST] == Room(2 * AHEAD, 0, True)
