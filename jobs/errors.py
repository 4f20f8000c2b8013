"""Every error that Darkroom raises on purpose. It draws no response: dialects and the runner do.

DarkroomError
├── InvalidSubmission     the request is wrong; carries all its faults
├── UnknownModel          `catalog`: no model has this name
├── WrongWeights          `weights`: a file is missing, or is not the one that the catalogue states
├── UnknownSampler        `samplers`: no sampler has this name
├── UnknownUpscaler       `upscalers`: no upscaler has this name
├── UnknownVae            `vaes`: no VAE has this name
├── NotAuthenticated      no key or signature, or one that is not valid
├── PermissionDenied      the key or app lacks a scope
├── RateLimited           the account sends more than its limit; carries when to try again
├── LinkRefused           a signed URL was altered or has expired
├── NotFound              no such thing in this account
├── RequestIdConflict     the request id belongs to another body
├── JobEnded              the job ended in another way than the one that is asked for
├── TooManyStreams        an account listens to more event streams than it may
├── Unimplemented         the endpoint is of this API, and is not built yet
├── InsufficientCredits   the job costs more than the account has free
├── TooManyWaiting        the account has as many waiting jobs as it may
├── TooLarge              a body or picture is over its bound
├── Unavailable           a store cannot be reached; the caller may try again
├── StageFailed           a stage could not be run
│   ├── TransitoryFailure another attempt may succeed
│   └── FatalFailure      no attempt will succeed
├── AttemptLost           the job was canceled, or taken from this attempt; it must stop and write nothing
└── HandedBack            the worker has not drawn the job, which goes back to its place in the line
    ├── WorkerStopping    the process must end
    └── EngineBusy        the job before it takes longer than was foretold
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from jobs.words import are, count

# Whoever makes more of them learns from these; all would cost us more than the caller.
MAX_FAULTS = 100


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
        self.faults = tuple(faults[:MAX_FAULTS])
        super().__init__("; ".join(map(str, self.faults)))

    def of(self, path: str) -> "InvalidSubmission":
        """The same faults, of this field."""
        return InvalidSubmission([Fault(path, fault.reason) for fault in self.faults])


class NotAuthenticated(DarkroomError):
    """An API key is needed, as 'Authorization: Bearer <key>', or a TAMS-SHA256-RSA signature."""


class PermissionDenied(DarkroomError):
    """This key may not do that."""


class RateLimited(DarkroomError):
    """Too many requests."""

    def __init__(self, message: str, wait_s: float) -> None:
        super().__init__(message)
        self.wait_s = wait_s


class LinkRefused(DarkroomError):
    """This link is not valid, or has expired."""


class NotFound(DarkroomError):
    """Not found."""

    def __init__(self, message: str | None = None, *, field: str = "") -> None:
        """`field` is that of a body which names what is not there."""
        super().__init__(message)
        self.field = field


class RequestIdConflict(DarkroomError):
    """The request id was used before, with another body or other bounds."""


class JobEnded(DarkroomError):
    """The job has ended already."""


class TooManyStreams(DarkroomError):
    """Too many event streams are open."""


class Unimplemented(DarkroomError):
    """This is not built yet."""


class InsufficientCredits(DarkroomError):
    """The account has not enough credits for this job."""

    def __init__(self, *, price: Decimal, balance: Decimal, held: Decimal) -> None:
        super().__init__(
            f"This job costs {_written(price)} credit{'' if price == 1 else 's'}. The balance is {_written(balance)},"
            f" of which {_written(held)} are held for jobs that have not ended."
        )
        self.facts = {"price": _written(price), "balance": _written(balance), "held": _written(held)}


class TooManyWaiting(DarkroomError):
    """The account has as many waiting jobs as it may."""

    def __init__(self, *, waiting: int, max_waiting: int) -> None:
        super().__init__(
            f"{count(waiting, 'job')} of this account {are(waiting)} waiting, and it may have"
            f" {max_waiting};"
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
    """This attempt no longer owns the job."""


class HandedBack(DarkroomError):
    """The worker does not draw the job."""


class WorkerStopping(HandedBack):
    """The worker was stopped."""


class EngineBusy(HandedBack):
    """The job before it takes longer than was foretold."""


class OutOfReach(HandedBack):
    """The worker cannot run the job, which was put into its line all the same."""

    def __init__(self, lacks: Sequence[str]) -> None:
        super().__init__(f"The worker that was given it cannot run it: {'; '.join(lacks)}.")


def _written(credits: Decimal) -> str:
    """Without the zeros that a column's scale adds."""
    return f"{credits:f}".rstrip("0").rstrip(".") if "." in f"{credits:f}" else f"{credits:f}"
