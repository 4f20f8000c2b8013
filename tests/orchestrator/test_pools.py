"""Which line jobs stand in: one whose workers can run them. Ranks count those who wait for the same workers."""

import asyncio
from collections.abc import AsyncIterator, Collection
from typing import Any

import pytest
from arq.connections import ArqRedis

from jobs.ability import Ability
from jobs.capabilities import RUNNABLE
from jobs.pool import NOBODY
from jobs.storage.database import Database
from jobs.storage.job_queue import JobQueue
from jobs.storage.job_store import JobStore, Waiting
from jobs.storage.outlook_board import OutlookBoard
from jobs.storage.pauses import Pauses
from jobs.turn import Turn
from orchestrator import foresight as foresight_module
from orchestrator import rerouting
from orchestrator.app import WebOptions
from orchestrator.foresight import Foresight
from orchestrator.rerouting import Rerouter
from tests.jobs import samples
from tests.orchestrator.conftest import Api, body, open_api
from tests.orchestrator.looking import foresight
from tests.until import until

LACK = "CHECKPOINT 'model-SDXL' needs 12.0 GiB of memory, and the workers have 8.0"
SMALL = Ability(RUNNABLE, {"101": "", "102": "", "103": LACK})
LARGE = Ability(RUNNABLE, {"101": "", "102": "", "103": ""})
XL = {"width": 1024, "height": 1024}


@pytest.fixture
def queue(redis: ArqRedis) -> JobQueue:
    return JobQueue(redis)


@pytest.fixture
async def api(
    options: WebOptions, database: Database, redis: ArqRedis, board: OutlookBoard, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Api]:
    monkeypatch.setattr(foresight_module, "LOOK_EVERY_S", 0.05)
    await board.tell("small:1", pool="small", ability=SMALL)
    async with open_api(options, database, redis) as opened:
        yield opened


async def accepted(api: Api, **changes: Any) -> dict[str, Any]:
    status, answer = await api.post_job(body(**changes))
    assert status == 200, answer
    job: dict[str, Any] = answer["job"]
    return job


async def test_a_job_is_told_at_submission_whether_a_worker_can_run_it(api: Api) -> None:
    possible, impossible = await accepted(api), await accepted(api, sd_model="103", **XL)

    assert possible["isPossible"] is True and "impossibleBecause" not in possible
    assert (impossible["isPossible"], impossible["impossibleBecause"]) == (False, [LACK])
    assert "estimate" not in impossible
    for job in (possible, impossible):
        later = await api.job(job["id"])
        assert later["isPossible"] == job["isPossible"]
    _, explained = await api.call("GET", f"/v1/jobs/{impossible['id']}/explain")
    when = "it starts when a worker comes that can run it"
    assert explained["explanation"] == f"It is the first in line; {LACK}; {when}."


async def test_a_rank_counts_those_who_wait_for_the_same_workers(api: Api, board: OutlookBoard) -> None:
    await board.tell("large:1", pool="large", ability=Ability(RUNNABLE, {"103": ""}))
    await asyncio.sleep(0.15)
    ranks = [await accepted(api, sd_model=model, **XL) for model in ("101", "103", "101", "103", "103")]

    assert [job["waitingInfo"]["queueRank"] for job in ranks] == ["1", "1", "2", "2", "3"]
    assert [job["waitingInfo"]["queueLen"] for job in ranks] == ["1", "1", "2", "2", "3"]


async def test_a_job_that_was_impossible_becomes_possible_when_a_worker_comes(
    database: Database, api: Api, board: OutlookBoard, queue: JobQueue, redis: ArqRedis
) -> None:
    job = await accepted(api, sd_model="103", **XL)
    await board.tell("large:1", pool="large", ability=LARGE)
    looking = foresight(redis)
    await looking.look()

    await routing(database, queue, looking).reroute()

    await until(lambda: possible(api, job["id"]))
    assert await queue.pick("large:1", "large", {}, 0.0) == [(int(job["id"]), 1)]


async def possible(api: Api, job_id: str) -> bool:
    return bool((await api.job(job_id))["isPossible"])


def routing(database: Database, queue: JobQueue, looking: Foresight) -> Rerouter:
    return Rerouter(JobStore(database), queue, looking)


async def look(board: OutlookBoard, queue: JobQueue, **pools: Any) -> Foresight:
    """With a worker of each pool: its ability, and for how long it is busy."""
    for name, (ability, busy_s) in pools.items():
        await board.tell(f"{name}:1", pool=name, ability=ability, busy_s=0 if busy_s else None, cost_s=busy_s)
    looking = Foresight(board, queue)
    await looking.look()
    return looking


async def test_of_pools_that_can_the_one_is_chosen_where_the_job_starts_first(
    board: OutlookBoard, queue: JobQueue
) -> None:
    looking = await look(board, queue, busy=(LARGE, 10.0), free=(LARGE, 0.0), unable=(SMALL, 0.0))

    # Each takes 4 s: the free one is given two before the busy one is as near.
    assert [looking.pool_for("103|DIFFUSION", 4.0) for _ in range(4)] == ["free", "free", "free", "busy"]
    assert looking.pool_for("999|DIFFUSION", 4.0) == NOBODY


async def test_what_comes_while_a_pools_workers_are_away_stands_in_their_line(
    board: OutlookBoard, queue: JobQueue
) -> None:
    looking = await look(board, queue, small=(SMALL, 0.0))
    await board.forget("small:1")
    await looking.look()

    assert looking.outlook.pools == {}
    assert looking.pool_for("101|DIFFUSION", 1.0) == "small"
    # That it never could, it cannot be expected to.
    assert looking.pool_for("103|DIFFUSION", 1.0) == NOBODY


def line(pool: str, *job_ids: int, need: str = "101|DIFFUSION", cost_s: float = 1.0) -> list[Waiting]:
    return [Waiting(job_id, 1, cost_s, Turn(1, cost_s), need, pool) for job_id in job_ids]


async def pools_of(queue: JobQueue, *job_ids: int) -> list[str]:
    return [place.pool if place else "" for place in await queue.places((job_id, 1) for job_id in job_ids)]


async def test_what_waits_for_busy_workers_goes_to_idle_ones_that_can_run_it(
    database: Database, board: OutlookBoard, queue: JobQueue
) -> None:
    await queue.add([*line("busy", 1, need="103|DIFFUSION"), *line("busy", 2, 3, 4, 5)])
    looking = await look(board, queue, busy=(LARGE, 60.0), idle=(SMALL, 0.0))

    await routing(database, queue, looking).reroute()

    # For two seconds of work, and not the one that the idle worker cannot run.
    assert await pools_of(queue, 1, 2, 3, 4, 5) == ["busy", "idle", "idle", "busy", "busy"]
    assert [place and place.rank for place in await queue.places([(2, 1), (3, 1)])] == [1, 2]


async def test_idle_workers_keep_what_is_theirs(database: Database, board: OutlookBoard, queue: JobQueue) -> None:
    await queue.add(line("one", 1, 2))
    looking = await look(board, queue, one=(LARGE, 0.0), other=(LARGE, 0.0))

    await routing(database, queue, looking).reroute()

    assert await pools_of(queue, 1, 2) == ["one"] * 2


async def test_idle_workers_are_brought_a_job_each_however_long_and_from_far_behind(
    database: Database, board: OutlookBoard, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerouting, "PAGE", 4)
    await queue.add([*line("busy", *range(1, 9), need="103|DIFFUSION"), *line("busy", *range(9, 13), cost_s=60.0)])
    looking = await look(board, queue, busy=(LARGE, 60.0), idle=(SMALL, 0.0))
    await board.tell("idle:2", pool="idle", ability=SMALL)
    await looking.look()

    rerouter = routing(database, queue, looking)
    for _ in range(4):
        await rerouter.reroute()

    assert await queue.length("idle") == 2


async def test_who_is_busy_is_not_brought_more_by_a_second_process(
    database: Database, board: OutlookBoard, queue: JobQueue
) -> None:
    await queue.add(line("busy", *range(1, 9)))
    both = [await look(board, queue, busy=(LARGE, 60.0), idle=(SMALL, 0.0)) for _ in range(2)]

    for looking in both:
        await routing(database, queue, looking).reroute()

    assert await queue.length("idle") == 2


async def test_a_job_that_a_worker_was_just_given_or_has_begun_is_not_moved(queue: JobQueue) -> None:
    await queue.add(line("here", 1, 2, 3))
    assert await queue.pick("here:1", "here", {}, 0.0) == [(1, 1)]
    await queue.start((2, 1))

    moved = await queue.move("here", [(1, 1), (2, 1), (3, 1)], to="there")

    assert moved == 1
    assert await pools_of(queue, 1, 2, 3) == ["here", "", "there"]


async def test_what_waits_no_more_leaves_a_line_that_no_worker_serves(
    api: Api, database: Database, board: OutlookBoard, queue: JobQueue
) -> None:
    ended, waiting = [int((await accepted(api, sd_model="103", **XL))["id"]) for _ in range(2)]
    async with database.connection() as connection:
        await connection.execute("UPDATE jobs SET status = 'CANCELED' WHERE id = $1", ended)

    await routing(database, queue, await look(board, queue, small=(SMALL, 0.0))).reroute()

    assert await pools_of(queue, ended, waiting) == ["", NOBODY]


async def test_a_process_that_could_not_look_yet_says_nothing_of_workers(redis: ArqRedis) -> None:
    assert foresight(redis).missing(samples.job(), None) is None


async def test_of_pools_that_are_away_the_one_that_was_seen_last_is_taken(board: OutlookBoard, queue: JobQueue) -> None:
    looking = await look(board, queue, older=(SMALL, 0.0), newer=(SMALL, 0.0))
    await board.forget("newer:1")
    await looking.look()
    await board.forget("older:1")
    await looking.look()

    assert looking.pool_for("101|DIFFUSION") == "older"


async def test_how_many_of_those_before_are_ones_own_is_counted_in_its_line(api: Api) -> None:
    for model in ("101", "101", "103", "103"):
        last = await accepted(api, sd_model=model, **XL)

    _, explained = await api.call("GET", f"/v1/jobs/{last['id']}/explain")

    assert (explained["jobsBefore"], explained["yourJobsBefore"]) == (1, 1)


class AllWait(JobStore):
    async def still_waiting(self, attempts: Collection[tuple[int, int]]) -> set[int]:
        return {job_id for job_id, _ in attempts}


async def test_a_line_without_workers_is_looked_through_page_by_page(
    database: Database, board: OutlookBoard, queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rerouting, "PAGE", 2)
    await queue.add([*line("gone", 1, 2, need="999|DIFFUSION"), *line("gone", 3, 4, 5)])
    rerouter = Rerouter(AllWait(database), queue, await look(board, queue, here=(SMALL, 0.0)))

    for _ in range(3):
        await rerouter.reroute()

    assert await pools_of(queue, 1, 2, 3, 4, 5) == ["gone", "gone", "here", "here", "here"]


async def test_what_moves_keeps_its_turns_and_what_came_back_goes_to_the_front(
    database: Database, board: OutlookBoard, queue: JobQueue
) -> None:
    burst = [Waiting(i, 1, 1.0, Turn(1, 1.0, head_start=0.5), "101|DIFFUSION", "gone") for i in (1, 2, 3)]
    await queue.add([*burst, *[Waiting(4, 1, 1.0, Turn(2, 1.0), "101|DIFFUSION", "gone")]])
    await queue.add([Waiting(5, 2, 1.0, None, "101|DIFFUSION", "gone")])
    before = await queue.page("gone", 0, 10)

    await routing(database, queue, await look(board, queue, here=(SMALL, 0.0))).reroute()

    after = await queue.page("here", 0, 10)
    assert [each.job_id for each in before] == [5, 1, 4, 2, 3] == [each.job_id for each in after]
    assert [each.turn for each in after] == [each.turn for each in before]
    assert await queue.page("gone", 0, 10) == []


async def test_what_only_paused_workers_can_run_is_possible_and_says_who_is_paused(
    api: Api, board: OutlookBoard, redis: ArqRedis
) -> None:
    await board.tell("small:1", pool="small", ability=SMALL, is_paused=True)
    await asyncio.sleep(0.15)
    job = await accepted(api)
    by_name = await explained(api, job)
    await Pauses(redis).pause("pool:small")
    by_pool = await explained(api, job)
    await Pauses(redis).pause()

    assert job["isPossible"] is True and "estimate" not in job
    told = "It is the first in line; the operator has paused {}; it starts after they are resumed."
    assert by_name["explanation"] == told.format("the workers that could run it")
    assert by_name["workersAlive"] == 1
    assert by_pool["explanation"] == told.format("the workers of its pool, small")
    assert (await explained(api, job))["explanation"] == told.format("all workers")


async def explained(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    _, answer = await api.call("GET", f"/v1/jobs/{job['id']}/explain")
    told: dict[str, Any] = answer
    return told


async def test_a_paused_pool_keeps_its_line_until_another_can_take_it(
    database: Database, board: OutlookBoard, queue: JobQueue
) -> None:
    looking = await look(board, queue, paused=(SMALL, 0.0))
    await board.tell("paused:1", pool="paused", ability=SMALL, is_paused=True)
    await looking.look()
    assert looking.pool_for("101|DIFFUSION") == "paused"
    await queue.add(line("paused", 1))
    await Rerouter(AllWait(database), queue, looking).reroute()
    assert await pools_of(queue, 1) == ["paused"]

    looking = await look(board, queue, free=(SMALL, 0.0))
    await Rerouter(AllWait(database), queue, looking).reroute()

    assert looking.pool_for("101|DIFFUSION") == "free"
    assert await pools_of(queue, 1) == ["free"]
