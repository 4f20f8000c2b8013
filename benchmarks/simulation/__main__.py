"""`make simulate`: the same traffic under four orders, and how true what was told of starts has been."""

import argparse
import asyncio
import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks.simulation.orders import Darkroom, Order, RoundRobin, Sorted
from benchmarks.simulation.run import Outcome, Run, Start
from benchmarks.simulation.traffic import Knobs, traffic
from embedded.redis import EmbeddedRedis
from jobs.outlook import quantile
from jobs.storage.redis_connection import open_redis

# Before there is anything to learn from, nothing is told truly.
LEARNT_AFTER = 100


async def simulate(knobs: Knobs, redis_url: str) -> str:
    """The table."""
    jobs = traffic(knobs)
    if not jobs:
        return _title(knobs, 0)
    async with open_redis(redis_url) as redis:
        await redis.flushall()
        orders: dict[str, Callable[[Callable[[], float]], Order]] = {
            "first come, first served": lambda now: Sorted(key=lambda job: job.id),
            "strict priority": lambda now: Sorted(key=lambda job: -job.priority),
            "round robin": lambda now: RoundRobin(),
            "without affinity": lambda now: Darkroom(redis, now, swap_s=0.0),
            "Darkroom": lambda now: Darkroom(redis, now, swap_s=knobs.swap_s),
        }
        outcomes = {name: await Run(knobs, jobs).play(make) for name, make in orders.items()}
    return "\n".join([_title(knobs, len(jobs)), *_rows(outcomes), "", *_told(outcomes["Darkroom"].starts)])


def _title(knobs: Knobs, jobs: int) -> str:
    settings = ", ".join(f"{field.name} {getattr(knobs, field.name):g}" for field in fields(knobs))
    return f"{jobs} jobs; {settings}\nwaits in seconds: p50 / p99\n"


def _rows(outcomes: dict[str, Outcome]) -> Iterable[str]:
    accounts = sorted({start.job.account for start in next(iter(outcomes.values())).starts})
    yield f"{'':12}" + "".join(f"{name:>26}" for name in outcomes)
    for account in accounts:
        yield f"{account:12}" + "".join(f"{_waits(outcome, account):>26}" for outcome in outcomes.values())
    yield f"{'longest wait':12}" + "".join(f"{_longest(outcome):>26}" for outcome in outcomes.values())
    yield f"{'utilisation':12}" + "".join(f"{outcome.utilisation:>26.0%}" for outcome in outcomes.values())
    yield f"{'swaps':12}" + "".join(f"{outcome.swaps:>26}" for outcome in outcomes.values())


def _waits(outcome: Outcome, account: str) -> str:
    waits = [start.waited_s for start in outcome.starts if start.job.account == account]
    return f"{statistics.median(waits):.0f} / {quantile(waits, 0.99):.0f}"


def _longest(outcome: Outcome) -> str:
    last = max(outcome.starts, key=lambda start: start.waited_s)
    return f"{last.waited_s:.0f}, {last.job.account}"


def _told(starts: Sequence[Start]) -> Iterable[str]:
    """Of all starts that were foretold, once there was something to learn from."""
    foretold = [start for start in starts if start.told and start.job.id > LEARNT_AFTER]
    groups: dict[str, list[Start]] = {}
    for start in foretold:
        for name in ("all", start.job.account):
            groups.setdefault(name, []).append(start)
    yield "what was told of starts: share before p50, share before p90 (goal: 85 to 95 % of all)"
    for name, group in sorted(groups.items()):
        p50 = sum(start.waited_s <= start.told.p50 for start in group if start.told) / len(group)
        p90 = sum(start.waited_s <= start.told.p90 for start in group if start.told) / len(group)
        yield f"{name:12} {len(group):6} starts   p50 {p50:4.0%}   p90 {p90:4.0%}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.simulation", description=Knobs.__doc__)
    for field in fields(Knobs):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    knobs = Knobs(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory(prefix="darkroom-simulation-") as folder, EmbeddedRedis(Path(folder)) as redis:
        print(asyncio.run(simulate(knobs, redis.url)))


if __name__ == "__main__":
    main()
