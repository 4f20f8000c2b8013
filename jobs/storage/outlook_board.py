"""What forecasts are made of, in Redis: who works and until when, how long jobs took, how long they waited.

It may be lost, and is then measured again.
"""

from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, cast

from arq.connections import ArqRedis

from jobs.ability import Ability, read_ability
from jobs.job import Range
from jobs.outlook import LENGTHS, OVERDUE_SHARE, Outlook, Spread, Wait, spread_of
from jobs.pool import Pool
from jobs.storage.job_queue import FRESH, WAITS, WORK

WORKERS = "darkroom:workers"
SPREADS = "darkroom:durations"
ABILITIES = "darkroom:abilities"
# A worker tells of itself every two seconds; one that was silent for so long is not counted, and after a minute
# forgotten.
ALIVE_S = 10
FORGOTTEN_S = 60
# The time over which the work of those who stand at the front is counted.
FRESH_OVER_S = 300
PAUSED_WORD = "paused"

_MEASURE = (Path(__file__).parent / "measure.lua").read_text()


class _Told(NamedTuple):
    """By a worker of itself: when, since when it has been at a job, and how long that should take; to which pool it
    belongs, the digest of what it can do, and whether an operator has paused it."""

    at: float
    began: float
    cost_s: float
    pool: str
    digest: str
    is_paused: bool = False


class Member(NamedTuple):
    """A worker, as it told of itself last. One that is paused takes no new job when it is through with its own."""

    pool: str
    is_at_work: bool
    is_paused: bool


class OutlookBoard:
    def __init__(self, redis: ArqRedis, now: Callable[[], float] | None = None) -> None:
        """`now`, in seconds since 1970, is for a time that is not the world's. That is Redis's: clocks of machines
        differ."""
        self._redis = redis
        self._now = now
        self._fresh: dict[str, deque[tuple[float, float]]] = {}
        self._abilities: dict[str, Ability] = {}
        # As they were read, by what Redis wrote of them in short.
        self._spreads: dict[bytes, tuple[bytes, Spread]] = {}
        self._measure = redis.register_script(_MEASURE)

    async def tell(
        self,
        worker: str,
        *,
        pool: str,
        ability: Ability,
        busy_s: float | None = None,
        cost_s: float = 0.0,
        is_paused: bool = False,
    ) -> None:
        """That it is alive, and what it can do; where it is at a job, for how long, and how long that should take."""
        now = await self._time()
        began = 0.0 if busy_s is None else now - busy_s
        # Releases that know no such word do not count who says it, and so send it no jobs.
        paused = f" {PAUSED_WORD}" if is_paused else ""
        told = f"{now:.3f} {began:.3f} {cost_s:.3f} {pool} {ability.digest}{paused}"
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hset(WORKERS, worker, told)
        pipeline.hexists(ABILITIES, ability.digest)
        # It is long, and the same for years: told once, or again after Redis was emptied.
        if not (await pipeline.execute())[1]:
            await cast(Awaitable[int], self._redis.hset(ABILITIES, ability.digest, ability.text))

    async def alive(self) -> dict[str, Member]:
        return await self.known(ALIVE_S)

    async def known(self, silent_s: float = FORGOTTEN_S) -> dict[str, Member]:
        """Those that have told of themselves, but for so long; one that hangs may still be at a job."""
        told, now = await cast(Awaitable[dict[bytes, bytes]], self._redis.hgetall(WORKERS)), await self._time()
        workers = {name.decode(): each for name, each in _workers(told).items() if now - each.at <= silent_s}
        return {name: Member(each.pool, each.began > 0, each.is_paused) for name, each in workers.items()}

    async def forget(self, *workers: str) -> None:
        await cast(Awaitable[int], self._redis.hdel(WORKERS, *workers))

    async def measured(self, *durations: tuple[str, float]) -> None:
        """Jobs of these kinds took so many times their nominal seconds."""
        # "" stands for all kinds.
        arguments = [each for kind, factor in durations for of in (kind, "") for each in (of, repr(factor))]
        await self._measure(keys=[SPREADS, f"{SPREADS}:"], args=arguments)

    async def read(self) -> Outlook:
        """As it is now."""
        now = await self._time()
        pipeline = self._redis.pipeline(transaction=False)
        for name in (WORKERS, ABILITIES, SPREADS, FRESH, WORK):
            pipeline.hgetall(name)
        for length in range(LENGTHS):
            pipeline.lrange(f"{WAITS}{length}", 0, -1)
        told_of_workers, abilities, spreads, fresh, work, *waits = await pipeline.execute()
        workers = _workers(told_of_workers)
        await self._forget_the_silent(now, workers, abilities)
        alive = [told for told in workers.values() if now - told.at <= ALIVE_S]
        return Outlook(
            spreads=await self._read_spreads(spreads),
            pools=self._pools(now, alive, abilities, _seconds(fresh)),
            work_s={pool: seconds for pool, seconds in _seconds(work).items() if seconds > 0},
            waits=[_wait(told) for of_length in waits for told in of_length],
        )

    async def _read_spreads(self, short: Mapping[bytes, bytes]) -> dict[str, Spread]:
        """All durations of the kinds of which one was measured since the last look, and the others as they were."""
        changed = [kind for kind, text in short.items() if self._spreads.get(kind, (None,))[0] != text]
        pipeline = self._redis.pipeline(transaction=False)
        for kind in changed:
            pipeline.lrange(f"{SPREADS}:{kind.decode()}", 0, -1)
        read = dict(zip(changed, await pipeline.execute(), strict=True)) if changed else {}
        new = {kind: (short[kind], spread_of([float(each) for each in told])) for kind, told in read.items() if told}
        self._spreads = {kind: each for kind, each in (self._spreads | new).items() if kind in short}
        return {kind.decode(): spread for kind, (_, spread) in self._spreads.items()}

    def _pools(
        self, now: float, alive: Sequence[_Told], abilities: Mapping[bytes, bytes], fresh_s: Mapping[str, float]
    ) -> dict[str, Pool]:
        members: defaultdict[str, list[_Told]] = defaultdict(list)
        for told in alive:
            if told.digest in self._abilities or self._learn(told.digest, abilities):
                members[told.pool].append(told)
        return {
            name: self._pool(now, of_one, self._fresh_per_s(now, name, fresh_s.get(name, 0.0)))
            for name, of_one in members.items()
        }

    def _pool(self, now: float, members: Sequence[_Told], fresh_per_s: float) -> Pool:
        taking = [told for told in members if not told.is_paused]
        return Pool(
            free_in_s=[_free_in_s(told, now) for told in taking],
            paused=len(members) - len(taking),
            abilities=[self._abilities[digest] for digest in sorted({told.digest for told in taking or members})],
            fresh_per_s=fresh_per_s,
        )

    def _learn(self, digest: str, abilities: Mapping[bytes, bytes]) -> bool:
        """Whether it could be read. It is read once: the digest is of it."""
        with suppress(ValueError, KeyError, TypeError):
            self._abilities[digest] = read_ability(abilities[digest.encode()])
            return True
        return False

    async def _forget_the_silent(
        self, now: float, workers: Mapping[bytes, _Told], abilities: Mapping[bytes, bytes]
    ) -> None:
        if forgotten := [name.decode() for name, told in workers.items() if now - told.at > FORGOTTEN_S]:
            await self.forget(*forgotten)
        left = {told.digest for told in workers.values()}
        if unused := [digest.decode() for digest in abilities if digest.decode() not in left]:
            await cast(Awaitable[int], self._redis.hdel(ABILITIES, *unused))

    def _fresh_per_s(self, now: float, pool: str, fresh_s: float) -> float:
        """Of the last minutes, as far as this process has looked at them."""
        looks = self._fresh.setdefault(pool, deque())
        if looks and fresh_s < looks[-1][1]:  # Redis was emptied
            looks.clear()
        looks.append((now, fresh_s))
        while looks[0][0] < now - FRESH_OVER_S:
            looks.popleft()
        began, before_s = looks[0]
        return (fresh_s - before_s) / max(now - began, FRESH_OVER_S / 10)

    async def _time(self) -> float:
        if self._now:
            return self._now()
        seconds, microseconds = await self._redis.time()
        return float(seconds) + float(microseconds) / 1e6


def _free_in_s(told: _Told, now: float) -> float:
    if not told.began:
        return 0.0
    return max(told.began + told.cost_s - now, (now - told.began) * OVERDUE_SHARE)


def _workers(told: Mapping[bytes, bytes]) -> dict[bytes, _Told]:
    """Without those of which another version of Darkroom tells in a way that this one cannot read."""
    readable = {}
    for name, each in told.items():
        with suppress(ValueError, TypeError):
            at, began, cost_s, pool, digest, *paused = each.decode().split()
            if paused in ([], [PAUSED_WORD]):
                readable[name] = _Told(float(at), float(began), float(cost_s), pool, digest, bool(paused))
    return readable


def _wait(told: bytes) -> Wait:
    raw_s, p50, p90, actual_s = _numbers(told)
    return Wait(raw_s, Range(p50, p90), actual_s)


def _seconds(milliseconds: Mapping[bytes, bytes]) -> dict[str, float]:
    return {pool.decode(): int(each) / 1000 for pool, each in milliseconds.items()}


def _numbers(text: Any) -> list[float]:
    return [float(each) for each in text.split()]
