"""When a callback that failed is tried again."""

from datetime import timedelta

import pytest

from config.settings import Settings
from tests.jobs.samples import NOON
from webhooks.schedule import delay_after, wait_asked_for

DAY_S = 24 * 3600


def test_the_default_schedule_tries_more_than_ten_times_over_more_than_a_day() -> None:
    delays_s = Settings.model_fields["delivery_delays_s"].default

    shortest = [delay_after(tries, delays_s, lambda: 0.0) for tries in range(1, len(delays_s) + 1)]

    assert len(shortest) >= 10
    assert sum(delay.total_seconds() for delay in shortest if delay) > DAY_S


def test_jitter_stays_within_a_fifth_and_grows_with_the_schedule() -> None:
    delays = [delay_after(2, [1, 100, 1000], lambda x=x: x) for x in (0.0, 0.5, 0.999)]

    assert [round(delay.total_seconds()) for delay in delays if delay] == [100, 110, 120]


def test_after_the_last_delay_there_is_no_further_try() -> None:
    assert delay_after(3, [1, 2], lambda: 0.5) is None
    assert delay_after(1, [], lambda: 0.5) is None


@pytest.mark.parametrize(
    ("status", "retry_after", "waits"),
    [
        (500, None, timedelta(0)),
        (500, "10", timedelta(seconds=10)),
        (429, None, timedelta(minutes=1)),
        (429, "61", timedelta(seconds=61)),
        (None, None, timedelta(minutes=1)),
        (503, "Fri, 01 May 2026 12:00:30 GMT", timedelta(seconds=30)),
        (503, "Fri, 01 May 2026 12:00:30 -0000", timedelta(seconds=30)),
        (503, "Fri, 01 May 2020 12:00:30 GMT", timedelta(0)),
        (503, "-5", timedelta(0)),
        (503, "²", timedelta(0)),
        (503, "99999999999999999999", timedelta(hours=12)),
        (503, "Mon, 01 Jan 2024 00:00:00 +99999999999999999999", timedelta(0)),
        (503, "Mon, 01 Jan 99999999999999999999 00:00:00 GMT", timedelta(0)),
    ],
)
def test_an_answer_may_ask_for_more_time_within_bounds(status: int, retry_after: str, waits: timedelta) -> None:
    assert wait_asked_for(status, retry_after, NOON) == waits


def test_what_is_asked_for_is_the_least_wait_and_the_schedule_may_be_longer() -> None:
    assert delay_after(1, [100], lambda: 0.0, timedelta(seconds=30)) == timedelta(seconds=100)
    assert delay_after(1, [100], lambda: 0.0, timedelta(seconds=300)) == timedelta(seconds=300)
