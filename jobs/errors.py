"""Every error that Darkroom raises on purpose. It draws no response: dialects and the runner do.

DarkroomError
├── InvalidSubmission     the request is wrong; carries all its faults
├── UnknownModel          `catalog`: no model has this name
├── UnknownSampler        `samplers`: no sampler has this name
├── NotAuthenticated      no key, or one that is unknown or revoked
├── LinkRefused           a signed URL was altered or has expired
├── NotFound              no such thing in this account
├── RequestIdConflict     the request id belongs to another body
├── InsufficientCredits   the job costs more than the account has free
├── TooManyWaiting        the account has as many waiting jobs as it may
├── TooLarge              a body or picture is over its bound
├── Unavailable           a store cannot be reached; the caller may try again
├── StageFailed           a stage could not be run
│   ├── TransitoryFailure another attempt may succeed
│   └── FatalFailure      no attempt will succeed
├── AttemptLost           the job was taken from this attempt; it must stop and write nothing
└── WorkerStopping        the process must end; the job goes back to its place in the line
"""

from dataclasses import dataclass
from decimal import Decimal


class DarkroomError(Exception):
    """Something went wrong in Darkroom."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)

    @property
    def message(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a request: `path` is like `stages[1].diffusion.steps`."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class InvalidSubmission(DarkroomError):
    """The request is not valid."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)


class NotAuthenticated(DarkroomError):
    """An API key is needed: send it as 'Authorization: Bearer <key>'."""


class LinkRefused(DarkroomError):
    """This link is not valid, or has expired."""


class NotFound(DarkroomError):
    """Not found."""


class RequestIdConflict(DarkroomError):
    """The request id was used before, with another body."""


class InsufficientCredits(DarkroomError):
    """The account has not enough credits for this job."""

    def __init__(self, *, price: Decimal, balance: Decimal, held: Decimal) -> None:
        super().__init__(
            f"This job costs {_written(price)} credits. The balance is {_written(balance)},"
            f" of which {_written(held)} are held for jobs that have not ended."
        )
        self.facts = {"price": _written(price), "balance": _written(balance), "held": _written(held)}


class TooManyWaiting(DarkroomError):
    """The account has as many waiting jobs as it may."""

    def __init__(self, *, waiting: int, max_waiting: int) -> None:
        super().__init__(
            f"{waiting} jobs of this account are waiting, and it may have {max_waiting};"
            " send the job again when one has started."
        )
        self.facts = {"waiting": str(waiting), "maxWaiting": str(max_waiting)}


class TooLarge(DarkroomError):
    """The body is too large."""


class Unavailable(DarkroomError):
    """The service cannot take this request now; try again."""


class StageFailed(DarkroomError):
    """The stage could not be run."""


class TransitoryFailure(StageFailed):
    """The stage failed for a passing reason."""


class FatalFailure(StageFailed):
    """The stage can never succeed."""


class AttemptLost(DarkroomError):
    """Another attempt owns this job."""


class WorkerStopping(DarkroomError):
    """The worker is stopping."""


def _written(credits: Decimal) -> str:
    """Without the zeros that a column's scale adds."""
    return f"{credits:f}".rstrip("0").rstrip(".") if "." in f"{credits:f}" else f"{credits:f}"
