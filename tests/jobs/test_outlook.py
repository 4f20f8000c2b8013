"""When jobs should start and end."""

import math
import random

import pytest

from jobs.job import Estimate, QueuePlace, Range
from jobs.outlook import ENOUGH, Calibration, Outlook, Spread, Wait, spread_of
from jobs.pool import Pool
from tests.pools import POOL

NOTHING = Range(0, 0)
# Means 2 and 1; the fifth and the ninth of nine are p50 and p90.
ALL_KINDS = spread_of((1.0, 1.1, 1.5, 1.7, 1.8, 1.9, 2.0, 3.0, 4.0))
SD = spread_of((0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.1, 1.3, 1.5))


def waits(raw_s: float, *actual_s: float, told: Range = NOTHING) -> list[Wait]:
    return [Wait(raw_s, told, each) for each in actual_s]


def place(work_before_s: float) -> QueuePlace:
    return QueuePlace(pool=POOL, rank=1, length=1, work_before_s=work_before_s)


@pytest.mark.parametrize(
    ("free_in_s", "work_before_s", "expected"),
    [
        ([0], 0, 0),
        ([7], 0, 7),  # behind what is being done
        ([7], 20, 27),
        ([0, 0], 20, 10),  # two share the work
        ([2, 10], 4, 6),  # the first alone: it is done before the second is free
        ([2, 10], 8, 10),
        ([10, 2], 20, 16),  # 8 by the first until 10, then 12 by both: 2 + 8 + 6
        ([0, 3, 9], 12, 7.5),  # 3 by the first, then 9 by two
        ([0, 3, 9], 18, 10),  # 9 + 6 until 9, then 3 by three
    ],
)
def test_a_job_starts_when_the_workers_are_through_with_what_is_before_it(
    free_in_s: list[float], work_before_s: float, expected: float
) -> None:
    assert Pool(free_in_s=free_in_s).raw_start_s(work_before_s) == pytest.approx(expected)


@pytest.mark.parametrize(("ahead_s", "fresh_per_s", "expected"), [(0, 1.0, 10), (5, 1.0, 20), (5, 9.0, 50)])
def test_who_is_ahead_waits_for_those_who_come_later_too(ahead_s: float, fresh_per_s: float, expected: float) -> None:
    # Of two workers one is kept busy by others; never more than four fifths of them.
    pool = Pool(free_in_s=[0, 0], fresh_per_s=fresh_per_s)

    assert pool.raw_start_s(20, ahead_s) == pytest.approx(expected)


def test_without_workers_nothing_is_foreseen() -> None:
    assert Outlook(spreads={}).waiting(place(0), "any", 1.0) is None


def test_before_anything_was_measured_a_wait_is_at_most_twice_as_long() -> None:
    start = Outlook(spreads={}).start(9.0)

    assert 9.0 <= start.p50 < 11 and 15 < start.p90 <= 19.0


def test_what_is_told_is_corrected_by_what_the_last_waits_came_to() -> None:
    # Waits told as 9 s came to 19 s at least, and one in ten to 39 s: with a second more, two and four times as long.
    history = waits(9.0, *[19.0] * 85, *[39.0] * 15)

    start = Outlook(spreads={}, waits=history).start(4.0)

    assert start == Range(pytest.approx(5 * 2 - 1), pytest.approx(5 * 4 - 1))


def test_long_waits_are_not_corrected_by_short_ones() -> None:
    history = [*waits(0.0, *[1.0] * 50), *waits(99.0, *[99.0] * 50)]
    outlook = Outlook(spreads={}, waits=history)

    assert outlook.start(100.0) == Range(pytest.approx(100), pytest.approx(100))
    assert outlook.start(0.0) == Range(pytest.approx(1), pytest.approx(1))
    # Of no length that was seen: by all of them together.
    assert outlook.start(30.0).p90 == pytest.approx(31 * 2 - 1)


def test_nine_in_ten_come_in_time_whatever_is_wrong_with_what_was_told() -> None:
    draw = random.Random(1)
    history: list[Wait] = []
    in_time = 0
    for _ in range(2000):
        raw_s = draw.choice([0.0, 3.0, 50.0])
        told = Outlook(spreads={}, waits=history[-500:]).start(raw_s)
        actual_s = raw_s * draw.lognormvariate(0.7, 0.8) + draw.random()
        history.append(Wait(raw_s, told, actual_s))
        in_time += actual_s <= told.p90

    assert 0.87 <= in_time / 2000 <= 0.93


def test_the_calibration_says_how_many_came_before_what_was_told() -> None:
    history = waits(1.0, *range(1, 11), told=Range(5, 9))

    assert Outlook(spreads={}, waits=history).calibration() == Calibration(10, 0.5, 0.9)
    assert Outlook(spreads={}).calibration() == Calibration(0, 0, 0)


def test_how_long_a_job_takes_is_what_its_kind_took_then_what_all_did() -> None:
    outlook = Outlook(spreads={"": ALL_KINDS, "sd": SD})

    assert outlook.running(0.0, "sd", 10.0, 0.0).ends_in == Range(10.0, 15.0)
    assert outlook.running(0.0, "unseen", 10.0, 0.0).ends_in == Range(9.0, 20.0)
    assert outlook.running(0.75, "sd", 10.0, 0.0).ends_in == Range(2.5, 3.75)
    assert [outlook.factor(kind) for kind in ("sd", "unseen")] == [1.0, 2.0]
    assert Outlook(spreads={}).factor("sd") == 1.0


def test_the_end_is_as_uncertain_as_start_and_length_are_together() -> None:
    history = waits(9.0, *[9.0] * (4 * ENOUGH), *[12.0] * ENOUGH)
    outlook = Outlook(spreads={"sd": Spread(1.0, 1.0, 1.4, ())}, pools={POOL: Pool(free_in_s=[0])}, waits=history)

    # 3 s late in the start and 4 s in the length: 5 s in the end.
    assert outlook.waiting(place(9.0), "sd", 10.0) == Estimate(
        starts_in=Range(pytest.approx(9), pytest.approx(12)), ends_in=Range(pytest.approx(19), pytest.approx(24))
    )
    assert math.isfinite(outlook.start(1e9).p90)


@pytest.mark.parametrize(
    ("fraction", "ran_s", "expected"),
    [
        # Of those that took longer than 10 s, which took 11, 11, 13 and 15, the third and the last.
        (0.0, 10.0, (3.0, 5.0)),
        # The half that is done should have taken 5 s: the other one has begun and takes 5.5, 6.5 or 7.5.
        (0.5, 10.1, (6.5 - 5.1, 7.5 - 5.1)),
        (0.5, 5.0, (5.0, 7.5)),
        # On time, or before it.
        (0.5, 2.0, (5.0, 7.5)),
        # None took so long: what is late grows with the time.
        (0.0, 20.0, (4.0, 20.0)),
        (0.0, 200.0, (40.0, 200.0)),
        (1.0, 110.0, (20.0, 100.0)),
        (1.0, 9.0, (0.0, 0.0)),
    ],
)
def test_what_is_running_is_foretold_by_those_that_took_longer(
    fraction: float, ran_s: float, expected: tuple[float, float]
) -> None:
    outlook = Outlook(spreads={"sd": SD})

    assert outlook.running(fraction, "sd", 10.0, ran_s).ends_in == pytest.approx(expected)


def test_what_was_never_measured_is_not_foretold_to_have_ended() -> None:
    for ran_s in (0.1, 1.0, 10.0, 3600.0):
        left = Outlook(spreads={}).running(0.0, "sd", 10.0, ran_s).ends_in
        assert 0 < left.p50 <= left.p90
