"""The simulator plays all of the traffic, and what it compares differs as it should."""

import statistics
from collections.abc import Callable
from dataclasses import replace

import pytest
from arq.connections import ArqRedis

from benchmarks.simulation.__main__ import simulate
from benchmarks.simulation.orders import Darkroom, Order, RoundRobin, Sorted
from benchmarks.simulation.run import Outcome, Run
from benchmarks.simulation.traffic import Knobs, traffic
from embedded.servers import Servers

KNOBS = Knobs(minutes=10, workers=2, accounts=3, burst=60, burst_every=10, load=0.3)


async def played(make: Callable[[Callable[[], float]], Order], knobs: Knobs = KNOBS) -> Outcome:
    return await Run(knobs, traffic(knobs)).play(make)


def darkroom(redis: ArqRedis, now: Callable[[], float]) -> Darkroom:
    return Darkroom(redis, now, swap_s=KNOBS.swap_s)


def median_wait(outcome: Outcome, *accounts: str) -> float:
    return statistics.median(start.waited_s for start in outcome.starts if start.job.account in accounts)


def test_the_same_seed_is_the_same_traffic() -> None:
    assert traffic(KNOBS) == traffic(KNOBS) != traffic(Knobs(minutes=10, seed=2))


def test_steady_accounts_without_load_send_nothing() -> None:
    accounts = {job.account for job in traffic(replace(KNOBS, load=0))}

    assert accounts == {"burst", "single", "hurried"}


@pytest.mark.parametrize("knobs", [Knobs(minutes=0.2, workers=1), Knobs(minutes=0)], ids=["nothing foretold", "no job"])
async def test_the_table_of_a_short_run_is_without_what_there_was_not(servers: Servers, knobs: Knobs) -> None:
    table = await simulate(knobs, servers.redis_url)

    assert table.startswith(f"{len(traffic(knobs))} jobs; minutes {knobs.minutes:g}")


async def test_every_job_is_played_once_and_no_worker_waits_while_jobs_do(redis: ArqRedis) -> None:
    jobs = {job.id for job in traffic(KNOBS)}
    for order in (
        lambda _: Sorted(key=lambda job: job.id),
        lambda _: RoundRobin(),
        lambda now: darkroom(redis, now),
    ):
        outcome = await played(order)

        assert sorted(start.job.id for start in outcome.starts) == sorted(jobs)
        # What the jobs take is more than half of the time, and it is the same work under each order, but for swaps.
        assert outcome.utilisation == pytest.approx(0.75, abs=0.1)
        await redis.flushall()


async def test_a_burst_holds_up_everybody_where_the_first_to_come_is_the_first_to_go_and_only_itself_with_us(
    redis: ArqRedis,
) -> None:
    first_come = await played(lambda _: Sorted(key=lambda job: job.id))
    ours = await played(lambda now: darkroom(redis, now))
    during_the_burst = [start for start in first_come.starts if start.job.account != "burst" and start.waited_s > 20]

    assert during_the_burst
    assert max(start.waited_s for start in ours.starts if start.job.account == "single") < 20
    assert median_wait(ours, "burst") >= median_wait(first_come, "burst")


async def test_workers_that_care_for_what_they_have_loaded_swap_less_and_nobody_waits_for_it(redis: ArqRedis) -> None:
    knobs = replace(KNOBS, swap_s=4.0)
    careless = await played(lambda now: Darkroom(redis, now, swap_s=0.0), knobs)
    await redis.flushall()
    caring = await played(lambda now: Darkroom(redis, now, swap_s=knobs.swap_s), knobs)

    assert caring.swaps < 0.8 * careless.swaps
    for account in ("burst", "single", "steady 1"):
        assert median_wait(caring, account) <= median_wait(careless, account) + knobs.swap_s


async def test_starts_are_foretold(redis: ArqRedis) -> None:
    outcome = await played(lambda now: darkroom(redis, now))

    told = [(start.waited_s, start.told) for start in outcome.starts[50:]]
    in_time = sum(told is not None and waited_s <= told.p90 for waited_s, told in told) / len(told)
    assert 0.7 <= in_time <= 1
