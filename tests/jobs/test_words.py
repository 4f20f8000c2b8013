"""How numbers are said."""

from decimal import Decimal

import pytest

from jobs.errors import InsufficientCredits, TooManyWaiting
from jobs.words import count


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (1.0, "1 job"), (0.5, "0.5 jobs")]
)
def test_one_is_one_and_all_else_is_many(number: float, said: str) -> None:
    assert count(number, "job") == said


def test_errors_count_one_as_one() -> None:
    short = InsufficientCredits(price=Decimal("1.00"), balance=Decimal(0), held=Decimal(0))

    assert short.message.startswith("This job costs 1 credit. ")
    assert TooManyWaiting(waiting=1, max_waiting=1).message.startswith("1 job of this account is waiting, and it may")
