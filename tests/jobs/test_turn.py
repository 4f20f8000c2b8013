import pytest

from jobs.turn import HEAD_START_PER_PRIORITY, Turn, turn


@pytest.mark.parametrize(
    ("weight", "priority", "share", "head_start"),
    [(1.0, 0, 12.0, 0), (2.0, 0, 6.0, 0), (0.5, -1, 24.0, -HEAD_START_PER_PRIORITY), (1.0, 3, 12.0, 180.0)],
)
def test_a_share_is_cost_by_weight_and_priority_a_head_start(
    weight: float, priority: int, share: float, head_start: float
) -> None:
    assert turn(7, cost_s=12.0, weight=weight, priority=priority) == Turn(7, share, head_start)
