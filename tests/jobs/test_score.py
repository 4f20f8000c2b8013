from datetime import UTC, datetime, timedelta

import pytest

from jobs.score import HEAD_START_PER_PRIORITY, score
from tests.jobs.samples import NOON

MOMENT = timedelta(microseconds=1)


def test_who_comes_a_microsecond_later_stands_behind() -> None:
    assert score(NOON, 0) < score(NOON + MOMENT, 0)


@pytest.mark.parametrize("priority", [1, 2, 10])
def test_priority_is_a_head_start_and_no_more(priority: int) -> None:
    ahead = priority * HEAD_START_PER_PRIORITY

    hurried = score(NOON + ahead, priority)

    assert score(NOON - MOMENT, 0) < hurried < score(NOON + MOMENT, 0)


@pytest.mark.parametrize("priority", [-60, 0, 1000])
def test_a_score_lies_in_the_past_for_clocks_hours_apart(priority: int) -> None:
    assert score(NOON, priority) < (NOON - timedelta(hours=12)).timestamp() * 1000


def test_the_zone_of_the_clock_does_not_count() -> None:
    assert score(NOON, 0) == score(NOON.astimezone(), 0) == score(datetime(2026, 5, 1, 12, tzinfo=UTC), 0)
