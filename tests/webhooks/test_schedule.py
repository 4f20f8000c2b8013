"""When a callback that failed is tried again."""

from config.settings import Settings
from webhooks.schedule import delay_after

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
