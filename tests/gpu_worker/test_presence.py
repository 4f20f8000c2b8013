"""That a worker is alive and what it is at, as others see it; and how long its jobs took."""

import asyncio
import threading
from typing import Any

import pytest
from arq.connections import ArqRedis

from gpu_worker.presence import Presence
from jobs.storage.background import beside
from jobs.storage.outlook_board import SPREADS, OutlookBoard
from tests.gpu_worker.conftest import Bench
from tests.gpu_worker.scripted_engine import ScriptedEngine, pause_at, raising
from tests.pools import ABLE, POOL
from tests.until import until


async def test_others_see_it_come_work_and_go(redis: ArqRedis) -> None:
    board = OutlookBoard(redis)
    presence = Presence(board, "one:1", POOL, ABLE)

    async with beside(presence.tell_for_ever()):
        await until(lambda: _seen(board, workers=1, busy=0))
        presence.begin(60.0)
        await until(lambda: _seen(board, workers=1, busy=1))
        free_in_s = (await board.read()).pools[POOL].raw_start_s(0)
        presence.end()
        await until(lambda: _seen(board, workers=1, busy=0))
    await presence.leave()

    assert free_in_s == pytest.approx(60, abs=1)
    assert await _seen(board, workers=0, busy=0)


async def test_one_that_could_not_be_told_is_told_again(redis: ArqRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    board = OutlookBoard(redis)
    presence, tell, tells = Presence(board, "one:1", POOL, ABLE), board.tell, []

    async def breaking(*arguments: Any, **named: Any) -> None:
        tells.append(arguments)
        if len(tells) == 1:
            raise ValueError("no reason that anybody thought of")
        await tell(*arguments, **named)

    monkeypatch.setattr(board, "tell", breaking)
    async with beside(presence.tell_for_ever()):
        await until(lambda: asyncio.sleep(0, len(tells) == 1))
        presence.begin(60.0)
        await until(lambda: _seen(board, workers=1, busy=1))


async def test_a_worker_that_draws_is_busy_and_notes_how_long_it_took(bench: Bench, redis: ArqRedis) -> None:
    job_id = await bench.accept()
    reached, go_on = threading.Event(), threading.Event()
    runner = bench.runner(ScriptedEngine(pause_at(2, reached, go_on)))

    async with beside(runner.presence.tell_for_ever()):
        running = asyncio.create_task(runner.run((job_id, 1)))
        await asyncio.to_thread(reached.wait, 10)
        await until(lambda: _seen(bench.outlook, workers=1, busy=1))
        go_on.set()
        await running
        await until(lambda: _seen(bench.outlook, workers=1, busy=0))

    assert set(await redis.hkeys(SPREADS)) == {b"", b"scripted"}
    assert (await bench.outlook.read()).factor("scripted") > 0


async def test_only_a_success_says_how_long_jobs_take(bench: Bench, redis: ArqRedis) -> None:
    engine = ScriptedEngine(raising(RuntimeError("out of order")))

    await bench.runner(engine).run((await bench.accept(), 1))

    assert await redis.hlen(SPREADS) == 0


async def test_a_job_that_waits_for_a_model_to_be_loaded_says_nothing_of_how_long_jobs_take(
    bench: Bench, redis: ArqRedis
) -> None:
    engine = ScriptedEngine(loaded={"101": 3.0})
    engine.on_step = lambda _step: engine.loaded.update({"101": 0.0})
    runner = bench.runner(engine)

    async with beside(runner.presence.tell_for_ever()):
        for number in range(2):
            await runner.run((await bench.accept(seed=number), 1))
            await asyncio.sleep(0.3)
            assert await redis.hexists(SPREADS, "scripted") == bool(number)


async def _seen(board: OutlookBoard, *, workers: int, busy: int) -> bool:
    outlook = await board.read()
    return (outlook.workers, outlook.busy_workers) == (workers, busy)
