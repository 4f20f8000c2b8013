"""What an account has, owes and may do, and so whether one more job of it is accepted. It stores nothing."""

from dataclasses import dataclass, replace
from decimal import Decimal

from jobs.errors import DarkroomError, InsufficientCredits, TooManyWaiting


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """None is no limit. `max_running` refuses no job: those beyond it wait. 0 pauses the account."""

    credits_enforced: bool = False
    max_waiting: int | None = None
    max_running: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`balance` is the sum of the account's ledger, `held` the price of its `waiting` and `running` jobs.

    Where credits are enforced, `held` never becomes more than `balance` by a job.
    """

    balance: Decimal
    held: Decimal
    waiting: int
    running: int
    limits: Limits

    def refusal(self, price: Decimal) -> DarkroomError | None:
        """Why a new job of this price is not accepted; None if it is."""
        limits = self.limits
        if limits.credits_enforced and price > self.balance - self.held:
            return InsufficientCredits(price=price, balance=self.balance, held=self.held)
        if limits.max_waiting is not None and self.waiting >= limits.max_waiting:
            return TooManyWaiting(waiting=self.waiting, max_waiting=limits.max_waiting)
        return None

    def with_job(self, price: Decimal) -> "Standing":
        """After a job of this price was accepted."""
        return replace(self, held=self.held + price, waiting=self.waiting + 1)
