"""Who answers well gets more at once; all who do not share half of the connections."""

from jobs.storage.delivery_store import Room
from webhooks.lanes import Lanes

FAST, SLOW = 1, 2


def use(lanes: Lanes, destination_id: int, *answers: bool) -> None:
    for well in answers:
        lanes.enter(destination_id)
        lanes.leave(destination_id, well=well)


def test_a_lane_widens_with_each_good_answer_up_to_its_bound_and_halves_with_a_bad_one() -> None:
    lanes = Lanes(concurrency=100, per_destination=8)

    widths = []
    for well in (True, True, True, *(True,) * 9, False, False, False, False, True):
        use(lanes, FAST, well)
        room = lanes.rooms().known.get(FAST)
        widths.append(room.number if room else lanes.rooms().each)

    assert widths == [2, 3, 4, *(5, 6, 7, 8, 8, 8, 8, 8, 8), 4, 2, 1, 1, 2]


def test_what_is_under_way_is_no_room() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)
    use(lanes, FAST, True, True)

    for _ in range(2):
        lanes.enter(FAST)

    rooms = lanes.rooms()
    assert rooms.known[FAST].number == 1 and rooms.known[FAST].is_trusted
    assert (rooms.limit, rooms.strangers) == (8, 5)


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
    lanes.enter(SLOW)
    lanes.leave(SLOW, well=False)

    rooms = lanes.rooms()
    assert not rooms.known[SLOW].is_trusted and rooms.strangers == 4


def test_a_good_answer_that_was_slow_widens_the_lane_among_strangers() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)

    for _ in range(2):
        lanes.enter(SLOW)
        lanes.leave(SLOW, well=True, quick=False)

    assert lanes.rooms().known[SLOW] == Room(3, 0, False)


def test_where_nothing_was_sent_nothing_is_learned() -> None:
    lanes = Lanes(concurrency=10, per_destination=8)
    use(lanes, FAST, True)

    lanes.enter(FAST)
    lanes.leave(FAST, well=None)

    assert lanes.rooms().known[FAST] == Room(2, 0, True)
