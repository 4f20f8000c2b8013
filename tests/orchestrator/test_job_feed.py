"""A stream's share of the news: what it does not fetch takes no more room, and no durable event is lost."""

from jobs.events import EventKind, JobEvent
from jobs.job import JobStatus, JobView, Progress, QueuePlace
from orchestrator.job_feed import Subscription, Update
from tests.jobs.samples import NOON, job

RUNNING = job(JobStatus.RUNNING)
NOW = 0.01


def event(id_: int, kind: EventKind = EventKind.STARTED) -> JobEvent:
    return JobEvent(id=id_, job_id=RUNNING.id, attempt=1, kind=kind, detail=None, created_at=NOON)


def running(step: int) -> JobView:
    return JobView(job=RUNNING, progress=Progress(attempt=1, fraction=step / 10, stage=1, step=step, steps=10))


def waiting(rank: int, length: int) -> JobView:
    return JobView(job=job(), place=QueuePlace(rank=rank, length=length))


async def test_what_is_not_fetched_becomes_one_update_with_every_durable_event_and_the_newest_state() -> None:
    subscription = Subscription(RUNNING, after=0)
    for step in range(1, 9):
        subscription.offer([event(step)] if step % 4 == 0 else [], running(step))

    assert await subscription.next(within_s=NOW) == Update((event(4), event(8)), running(8))
    assert await subscription.next(within_s=NOW) is None


async def test_events_that_are_known_and_states_that_are_told_are_no_news() -> None:
    subscription = Subscription(RUNNING, after=7)
    subscription.offer([event(5), event(7), event(9)], running(1))
    first = await subscription.next(within_s=NOW)
    subscription.offer([event(5), event(9)], running(1))

    assert first == Update((event(9),), running(1))
    assert await subscription.next(within_s=NOW) is None


async def test_a_rank_is_news_and_the_length_of_the_line_is_not() -> None:
    subscription = Subscription(job(), after=0)
    told = []
    for view in (waiting(3, 5), waiting(3, 6), waiting(2, 6), JobView(job=job())):
        subscription.offer([], view)
        told.append(await subscription.next(within_s=NOW))

    assert [update and update.view for update in told] == [waiting(3, 5), None, waiting(2, 6), None]


async def test_only_an_end_is_the_last_update() -> None:
    kinds = {kind: Update((event(1, kind),), running(1)).is_last for kind in EventKind}

    assert [kind for kind, is_last in kinds.items() if is_last] == ["SUCCESS", "FAILED", "CANCELED"]
    assert not Update((), running(1)).is_last
