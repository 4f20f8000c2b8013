"""Why a job waits, in one sentence. It finds nothing out."""

from dataclasses import dataclass

from jobs.job import JobStatus, JobView, QueuePlace, Range, ToldJob
from jobs.words import are, count

SOON_S = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a waiting job waits for. `own_before`: those of its account that are before it, None where they were not
    counted. `held_s` is the rest of the delay before another attempt. `is_parked`: its account runs as many jobs as it
    may. `paused`: whom the operator has paused, where all are that could run it. `workers` are those of its pool that
    are alive, of whom so many are at work and so many paused."""

    own_before: int | None
    held_s: float
    is_parked: bool
    paused: str
    workers: int
    busy_workers: int
    paused_workers: int


def explain(view: JobView, around: Circumstances) -> str:
    job = view.job
    match job.status:
        case JobStatus.WAITING:
            return _sentence(*_waiting(view, around))
        case JobStatus.RUNNING:
            return _sentence(_running(view), _in(view.estimate.ends_in if view.estimate else None, "it should end"))
        case _:
            return _sentence(_ended(job))


def _waiting(view: JobView, around: Circumstances) -> list[str]:
    if around.is_parked:
        return ["its account runs as many jobs as it may at once", "it starts when one of them has ended"]
    if around.held_s > 0:
        return [
            f"attempt {view.job.attempt} failed in a way that may pass",
            f"it is tried again in {_s(around.held_s)}",
        ]
    before = _before(view.place, around.own_before)
    paused = f"the operator has paused {around.paused}" if around.paused else ""
    if view.missing:
        return [before, *view.missing, paused, "it starts when a worker comes that can run it"]
    if paused:
        return [before, paused, "it starts after they are resumed"]
    return [before, _workers(around), _in(view.estimate.starts_in if view.estimate else None, "it should start")]


def _before(place: QueuePlace | None, own: int | None) -> str:
    if place is None:
        return "its place in the line is not known at the moment"
    before = place.rank - 1
    if before == 0:
        return "it is the first in line"
    if own is None:
        return f"{count(before, 'job')} {are(before)} before it"
    if before == 1:
        return f"1 job is before it, {'one of yours' if own else 'not one of yours'}"
    return f"{before} jobs are before it, {own or 'none'} of them yours"


def _workers(around: Circumstances) -> str:
    busy, paused = around.busy_workers, around.paused_workers
    match around.workers:
        case 0:
            return ""
        case 1:
            return f"1 worker is alive{' and at work' if busy else ''}"
        case number:
            also = f" and {paused} paused" if paused else ""
            return f"{number} workers are alive, {busy or 'none'} of them at work{also}"


def _running(view: JobView) -> str:
    done = f", {view.progress.fraction:.0%} done" if view.progress else ""
    attempt = f", attempt {view.job.attempt}" if view.job.attempt > 1 else ""
    return f"it is running{attempt}{done}"


def _ended(job: ToldJob) -> str:
    return f"it has failed: {job.failure.reason}" if job.failure else f"it has ended: {job.status.value}"


def _in(when: Range | None, what: str) -> str:
    if when is None:
        return ""
    if when.p90 < SOON_S:
        return f"{what} at once"
    about, at_most = _s(when.p50), _s(when.p90)
    return f"{what} in about {about}" + (f", and nine times out of ten within {at_most}" if at_most != about else "")


def _s(seconds: float) -> str:
    """As people say it."""
    if seconds < 100:
        return f"{max(round(seconds), 1)} s"
    return f"{round(seconds / 60)} min" if seconds < 6000 else f"{round(seconds / 3600)} h"


def _sentence(*parts: str) -> str:
    text = "; ".join(part for part in parts if part)
    return f"{text[0].upper()}{text[1:].removesuffix('.')}."
