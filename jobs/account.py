"""Who asks for jobs, and what they may do. It does not know how a request proves who sent it."""

from dataclasses import dataclass, field
from enum import StrEnum

# One step is a head start of a minute of work (see turn.py).
MIN_PRIORITY, MAX_PRIORITY = -100, 100
MIN_WEIGHT, MAX_WEIGHT = 0.01, 100.0


class Scope(StrEnum):
    """What a key or an app may do. Each endpoint asks for one."""

    JOBS_READ = "jobs:read"
    JOBS_WRITE = "jobs:write"
    RESOURCES_WRITE = "resources:write"


ALL_SCOPES = frozenset(Scope)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """A bucket of `burst` requests that refills by `per_s` a second."""

    per_s: float
    burst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What a limit has to say about one request: `wait_s` passes until the next one is free, or, where this one was
    refused, until it may be sent again."""

    limit: RateLimit
    is_refused: bool
    remaining: int
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`webhook_secret` signs this account's callbacks; clients write it as `whsec_<base64>`.

    All its jobs have `priority`. `weight` is its share of the workers while others wait too. Without a `rate_limit` it
    may send as much as it likes.
    """

    id: int
    name: str
    webhook_secret: bytes = field(repr=False)
    priority: int = 0
    weight: float = 1.0
    rate_limit: RateLimit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a key or an app stands for. Scopes are kept as they are stored: a newer release may know more of them."""

    account: Account
    scopes: frozenset[str]
