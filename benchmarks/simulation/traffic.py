"""Who sends what, and when. Nothing here knows how it is served."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

# How long jobs really take, for what they should: most as long, one in ten a third longer.
NOISE = 0.25
# Seconds that a job should take.
COSTS_S = (2.0, 4.0, 8.0)
MEAN_COST_S = sum(COSTS_S) / len(COSTS_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Knobs:
    """`load` is the share of the workers' time that the steady accounts ask for. Each `burst_every` minutes one more
    sends `burst` jobs at once. Two more send a job a minute, one of them with priority 1."""

    minutes: float = 60.0
    workers: int = 4
    accounts: int = 6
    models: int = 3
    load: float = 0.5
    burst: int = 120
    burst_every: float = 15.0
    swap_s: float = 1.5
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedJob:
    """`cost_s` is what it should take a worker, `lasts_s` what it will, on a worker that has its model."""

    id: int
    account: str
    priority: int
    model: int
    arrives_s: float
    cost_s: float
    lasts_s: float


def traffic(knobs: Knobs) -> list[SimulatedJob]:
    """In the order of arrival. The same knobs give the same traffic."""
    draw = random.Random(knobs.seed)
    arrivals = sorted(_arrivals(knobs, draw), key=lambda each: each[0])
    return [_job(i, *arrival, knobs, draw) for i, arrival in enumerate(arrivals, start=1)]


def _arrivals(knobs: Knobs, draw: random.Random) -> Iterator[tuple[float, str, int]]:
    """Times, accounts and priorities."""
    end_s = 60 * knobs.minutes
    # Of the steady accounts each sends as much as all before it together, but for the first two.
    shares = [2.0 ** max(i - 1, 0) for i in range(knobs.accounts)]
    for i, share in enumerate(shares):
        rate = knobs.load * knobs.workers / MEAN_COST_S * share / sum(shares)
        yield from ((at, f"steady {i + 1}", 0) for at in _poisson(rate, end_s, draw))
    every_s = 60 * knobs.burst_every
    for number in range(int(end_s / every_s)):
        yield from ((every_s * (number + 0.5), "burst", 0) for _ in range(knobs.burst))
    for account, priority in (("single", 0), ("hurried", 1)):
        yield from ((at, account, priority) for at in _poisson(1 / 60, end_s, draw))


def _poisson(rate: float, end_s: float, draw: random.Random) -> Iterator[float]:
    if not rate:
        return
    at = draw.expovariate(rate)
    while at < end_s:
        yield at
        at += draw.expovariate(rate)


def _job(number: int, arrives_s: float, account: str, priority: int, knobs: Knobs, draw: random.Random) -> SimulatedJob:
    cost_s = draw.choice(COSTS_S)
    return SimulatedJob(
        id=number,
        account=account,
        priority=priority,
        model=draw.randrange(knobs.models),
        arrives_s=arrives_s,
        cost_s=cost_s,
        lasts_s=cost_s * draw.lognormvariate(-(NOISE**2) / 2, NOISE),
    )
