"""Fair shares between accounts: who starts when, decided by the real scripts on a real Redis."""

from collections import defaultdict
from dataclasses import dataclass, field

import pytest
from arq.connections import ArqRedis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.job import QueuePlace
from jobs.pool import NOBODY
from jobs.storage.job_queue import CLOCK, ENDS, ENTRIES, LINE, WORK, JobQueue
from jobs.storage.job_store import Waiting
from jobs.turn import HEAD_START_PER_PRIORITY, turn
from tests.jobs.samples import NOON

MOMENT = 1 / 1024


@dataclass
class Line:
    """The queue, with jobs named by their accounts: a1 is the first of account a. Takes them as workers do."""

    redis: ArqRedis
    queue: JobQueue
    ids: dict[str, int] = field(default_factory=dict)

    async def add(self, *names: str, cost_s: float = 10.0, weight: float = 1.0, priority: int = 0) -> list[QueuePlace]:
        """In one batch."""
        return await self.queue.add([self._waiting(name, cost_s, weight, priority) for name in names])

    async def start(self) -> str:
        """The first of the line."""
        first = (await self.standing())[0]
        await self.queue.start((self.ids[first], 1))
        return first

    async def start_all(self) -> str:
        return " ".join([await self.start() for _ in await self.standing()])

    async def standing(self) -> list[str]:
        names = {str(job_id): name for name, job_id in self.ids.items()}
        return [names[member.decode().partition(":")[0]] for member in await self.redis.zrange(LINE + NOBODY, 0, -1)]

    def _waiting(self, name: str, cost_s: float, weight: float, priority: int) -> Waiting:
        job_id = self.ids.setdefault(name, len(self.ids) + 1)
        its_turn = turn(ord(name[0]), cost_s=cost_s, weight=weight, priority=priority)
        return Waiting(job_id, 1, cost_s, its_turn)


@pytest.fixture
def line(redis: ArqRedis) -> Line:
    return Line(redis, JobQueue(redis))


def burst(account: str, number: int) -> list[str]:
    return [f"{account}{i}" for i in range(1, number + 1)]


# What is done, and the order in which the jobs start after it. Jobs take 10 s; + is one batch.
CONVOYS = [
    ("a burst, and one of another", ["a1+a2+a3+a4", "b1"], "a1 b1 a2 a3 a4"),
    ("a burst, and a burst of another", ["a1+a2+a3+a4", "b1+b2"], "a1 b1 a2 b2 a3 a4"),
    ("a third comes", ["a1+a2+a3", "b1+b2+b3", "c1"], "a1 b1 c1 a2 b2 a3 b3"),
    ("in one batch", ["a1+a2+b1+a3+b2"], "a1 b1 a2 b2 a3"),
    ("who comes when a burst is half done", ["a1+a2+a3+a4", "start", "start", "b1", "b2"], "b1 a3 b2 a4"),
    ("who used idle workers owes nothing", ["a1", "start", "a2", "start", "a3", "start", "a4", "b1"], "a4 b1"),
    ("one by one, while others wait", ["b1+b2+b3", "a1", "start", "start", "a2", "start", "a3"], "a2 b3 a3"),
]


@pytest.mark.parametrize(("steps", "order"), [convoy[1:] for convoy in CONVOYS], ids=[name for name, *_ in CONVOYS])
async def test_accounts_take_turns(line: Line, steps: list[str], order: str) -> None:
    for step in steps:
        await (line.start() if step == "start" else line.add(*step.split("+")))

    assert await line.start_all() == order


async def test_a_single_job_waits_for_one_of_a_thousand(line: Line) -> None:
    await line.add(*burst("a", 1000))
    await line.start()

    (place,) = await line.add("b1")

    assert (place.rank, place.length) == (1, 1000)


async def test_costly_jobs_are_fewer_in_the_same_time(line: Line) -> None:
    await line.add("a1", "a2", "a3", cost_s=30)
    await line.add(*burst("b", 9), cost_s=10)

    # a2's turn is 30 virtual seconds after a1's, as b4's is after b1's: who came first is first.
    assert await line.start_all() == "a1 b1 b2 b3 a2 b4 b5 b6 a3 b7 b8 b9"


async def test_twice_the_weight_is_twice_as_many_jobs(line: Line) -> None:
    await line.add(*burst("a", 3))
    await line.add(*burst("b", 6), weight=2)

    assert await line.start_all() == "a1 b1 b2 a2 b3 b4 a3 b5 b6"


async def test_priority_is_a_head_start_and_no_more(line: Line) -> None:
    # A minute: six jobs of ten seconds. Then they take turns.
    await line.add(*burst("a", 3))
    await line.add(*burst("b", 10), priority=1)

    assert await line.start_all() == "b1 b2 b3 b4 b5 b6 a1 b7 a2 b8 a3 b9 b10"


async def test_who_comes_while_a_hurried_account_is_ahead_stands_before_those_who_owe(line: Line) -> None:
    await line.add(*burst("a", 9))
    await line.add(*burst("b", 9), priority=1)
    for _ in range(5):
        await line.start()

    await line.add("c1")

    assert (await line.start_all()).split()[:5] == ["b6", "a1", "b7", "c1", "a2"]


async def test_canceled_jobs_take_no_share(line: Line) -> None:
    await line.add(*burst("a", 5))
    for name in ("a2", "a3", "a4"):
        await line.queue.cancel(line.ids[name], 0)

    await line.add("b1", "b2", "b3")
    await line.add("a6")

    assert await line.start_all() == "a1 b1 b2 a6 b3 a5"


async def test_a_job_that_comes_back_stands_before_all_that_never_started(line: Line) -> None:
    await line.add("a1", "a2", "b1")
    await line.start()
    await line.start()
    await line.add("c1", priority=100)

    for name in ("a1", "b1"):
        await line.queue.add([Waiting(line.ids[name], 2, 10.0, turn=None)])

    assert await line.standing() == ["a1", "b1", "c1", "a2"]


async def test_a_job_that_only_passes_does_not_move_the_clock(line: Line) -> None:
    await line.add(*burst("a", 4))
    for name in ("a1", "a2", "a3"):  # parked: their account runs as many as it may
        await line.queue.remove((line.ids[name], 1))

    await line.add("b1", "b2", "b3", "b4")

    assert await line.start_all() == "b1 b2 b3 a4 b4"


async def test_an_account_that_is_given_room_job_by_job_gets_its_share_and_no_more(line: Line) -> None:
    for account in "abcde":
        await line.add(*burst(account, 8))
    parked = burst("a", 8)
    for name in parked:
        await line.queue.remove((line.ids[name], 1))

    started = []
    for _ in range(20):
        if not any(name.startswith("a") for name in await line.standing()):
            await line.add(parked.pop(0))
        started.append(await line.start())

    assert sum(name.startswith("a") for name in started) == 4


async def test_what_is_replayed_in_the_order_of_acceptance_is_fair_again(line: Line) -> None:
    await line.add(*burst("a", 4))
    await line.add("b1", "b2")
    await line.start()
    await line.redis.flushall()

    await line.add("a2", "a3", "a4", "b1", "b2")

    assert await line.start_all() == "a2 b1 a3 b2 a4"


async def test_nothing_is_kept_of_accounts_that_are_not_ahead(line: Line) -> None:
    await line.add(*(f"{chr(ord('a') + i)}1" for i in range(20)), cost_s=1)
    await line.add("z1", "z2", "z3", cost_s=1)
    while len(await line.standing()) > 1:
        await line.start()

    assert await line.redis.zcard(ENDS + NOBODY) == 1
    assert await line.redis.hlen(ENTRIES) == 1

    await line.start()
    await line.add("a2")
    assert await line.redis.zcard(ENDS + NOBODY) == 1


async def test_scores_are_in_no_workers_future_and_over_zero(line: Line) -> None:
    # A year of a thousand workers for one account of the least weight.
    await line.add("a1", cost_s=365 * 86_400 * 1000, weight=1)
    await line.add("a2", "b1", cost_s=10, priority=-100)
    await line.queue.add([Waiting(99, 2, 1.0, turn=None)])

    scores = [score for _, score in await line.redis.zrange(LINE + NOBODY, 0, -1, withscores=True)]

    assert min(scores) > 0 and max(scores) < NOON.timestamp() * 1000 / 10


async def test_the_work_that_waits_is_counted_exactly(line: Line) -> None:
    await line.add("a1", "a2", cost_s=0.3)
    await line.add("b1", cost_s=7.25)
    assert await line.redis.hget(WORK, NOBODY) == b"7850"

    await line.start()
    await line.queue.cancel(line.ids["a2"], 0)

    assert await line.redis.hget(WORK, NOBODY) == b"7250"


async def test_a_job_that_is_named_twice_leaves_once(line: Line) -> None:
    await line.add("a1", "a2", "b1")

    await line.queue.remove(*((line.ids[name], 1) for name in ("a2", "a2")))
    await line.queue.move(NOBODY, [(line.ids["a1"], 1)] * 2, to="other")

    assert await line.redis.hgetall(WORK) == {NOBODY.encode(): b"10000", b"other": b"10000"}


@dataclass(frozen=True)
class Asked:
    """A job as a generated run has it."""

    account: int
    cost_s: float
    priority: int
    line: str


@dataclass(frozen=True)
class Start:
    line: str


@dataclass(frozen=True)
class Move:
    """Of those that wait in the other line, by rank."""

    to: str
    ranks: frozenset[int]


LINES = ("one", "two")
JOBS = st.builds(
    Asked,
    account=st.integers(0, 3),
    cost_s=st.sampled_from([0.5, 2.0, 10.0, 50.0]),
    priority=st.sampled_from([0, 0, 0, 1]),
    line=st.sampled_from([*LINES, "one"]),
)
MOVES = st.builds(Move, to=st.sampled_from(LINES), ranks=st.frozensets(st.integers(0, 15), min_size=4))
STARTS = st.builds(Start, line=st.sampled_from(LINES))
STEPS = st.lists(st.one_of(st.lists(JOBS, min_size=1, max_size=8), STARTS, MOVES), min_size=5, max_size=30)
WEIGHTS = {0: 1.0, 1: 1.0, 2: 2.0, 3: 0.5}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_whatever_comes_and_moves_nobody_waits_longer_than_the_bound(
    redis: ArqRedis, steps: list[list[Asked] | Start | Move]
) -> None:
    await redis.flushall()
    run = Run(redis)

    for step in [*steps, *(Start(line) for line in LINES for _ in range(8 * len(steps)))]:
        await run.take(step)

    assert not run.waiting
    assert await redis.exists(ENTRIES, WORK, *(name + line for name in (LINE, CLOCK, ENDS) for line in LINES)) == 0
    run.check_bounds()


@dataclass
class Stay:
    """Of a job in a line: what its own account had before it there, in virtual seconds, and what was started in it
    until it left it."""

    line: str
    ahead: float
    passed: list[int] = field(default_factory=list)


class Run:
    """Adds, moves and starts, and notes for each job what was started while it stood in its line."""

    def __init__(self, redis: ArqRedis) -> None:
        self.redis = redis
        self.queue = JobQueue(redis)
        self.jobs: list[Asked] = []
        self.waiting: dict[int, Stay] = {}
        self.started: dict[int, Stay] = {}
        # By line and account, the virtual seconds of those that moved away: it may send as much again.
        self.given_back: defaultdict[tuple[str, int], float] = defaultdict(float)

    async def take(self, step: list[Asked] | Start | Move) -> None:
        if isinstance(step, Start):
            await self.start(step.line)
        elif isinstance(step, Move):
            await self.move(step)
        else:
            for job in step:
                await self.add(job)

    async def add(self, job: Asked) -> None:
        self.jobs.append(job)
        self._comes(len(self.jobs) - 1, job.line)
        (place,) = await self.queue.add([self._waiting(len(self.jobs) - 1)])
        assert (place.pool, place.length) == (job.line, len(self._in(job.line)))

    async def move(self, step: Move) -> None:
        (here,) = {*LINES} - {step.to}
        order = await self._order(here)
        going = [job_id for rank, job_id in enumerate(order) if rank in step.ranks]
        assert await self.queue.move(here, [(job_id, 1) for job_id in going], to=step.to) == len(going)
        for job_id in going:
            self.given_back[here, self.jobs[job_id].account] += self._share(job_id)
            del self.waiting[job_id]
            self._comes(job_id, step.to)

    async def start(self, line: str) -> None:
        """Work-conserving: as long as jobs wait there is a first one. Ranks are those in which they will start."""
        order = await self._order(line)
        assert set(order) == self._in(line).keys()
        places = await self.queue.places([(job_id, 1) for job_id in order])
        costs = [self.jobs[job_id].cost_s for job_id in order]
        for rank, place in enumerate(places, start=1):
            before_s = sum(costs[: rank - 1])
            assert place == QueuePlace(pool=line, rank=rank, length=len(order), work_before_s=before_s)
        if order:
            await self.queue.start((order[0], 1))
            self.started[order[0]] = self.waiting.pop(order[0])
            for stay in self._in(line).values():
                stay.passed.append(order[0])

    def check_bounds(self) -> None:
        for job_id, stay in self.started.items():
            for account in WEIGHTS.keys() - {self.jobs[job_id].account}:
                if theirs := [each for each in stay.passed if self.jobs[each].account == account]:
                    assert sum(self.jobs[each].cost_s for each in theirs) <= self._bound(job_id, theirs, account)

    def _bound(self, job_id: int, theirs: list[int], account: int) -> float:
        """Of the seconds of another account that start before a job: its weight times the virtual seconds by which the
        job's own account, and the head start of its own, were ahead; and one job more, and what moved away."""
        job, stay = self.jobs[job_id], self.started[job_id]
        own = [each for each, one in enumerate(self.jobs) if one.account == job.account]
        head_starts = max(self.jobs[each].priority for each in own) - job.priority
        head_starts += max(self.jobs[each].priority for each in theirs)
        ahead = stay.ahead + max(map(self._share, own)) + HEAD_START_PER_PRIORITY * head_starts
        ahead += self.given_back[stay.line, account] + 2 * len(self.jobs) * MOMENT
        return WEIGHTS[account] * ahead + max(self.jobs[each].cost_s for each in theirs)

    async def _order(self, line: str) -> list[int]:
        return [int(member.decode().partition(":")[0]) for member in await self.redis.zrange(LINE + line, 0, -1)]

    def _in(self, line: str) -> dict[int, Stay]:
        return {job_id: stay for job_id, stay in self.waiting.items() if stay.line == line}

    def _comes(self, job_id: int, line: str) -> None:
        own = [each for each in self._in(line) if self.jobs[each].account == self.jobs[job_id].account]
        self.waiting[job_id] = Stay(line, sum(map(self._share, own)))

    def _share(self, job_id: int) -> float:
        return self.jobs[job_id].cost_s / WEIGHTS[self.jobs[job_id].account]

    def _waiting(self, job_id: int) -> Waiting:
        job = self.jobs[job_id]
        its_turn = turn(job.account, cost_s=job.cost_s, weight=WEIGHTS[job.account], priority=job.priority)
        return Waiting(job_id, 1, job.cost_s, its_turn, pool=job.line)
