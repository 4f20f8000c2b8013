"""One job, claimed and ended as a worker does it with several at once."""

from collections.abc import Iterable
from datetime import timedelta

from jobs.errors import AttemptLost
from jobs.job import Image, Job
from jobs.storage.job_store import JobStore, Success


async def get(jobs: JobStore, job_id: int) -> Job:
    """Whose it is does not matter."""
    (told,) = await jobs.told([job_id])
    return await jobs.get(told.account_id, job_id)


async def claim(jobs: JobStore, job_id: int, attempt: int, *, worker: str, lease: timedelta) -> Job | None:
    """None where `claim_all` leaves it out."""
    claimed = await jobs.claim_all([(job_id, attempt)], worker=worker, lease=lease)
    return claimed[0] if claimed else None


async def succeed(jobs: JobStore, job: Job, images: Iterable[Image], note: str | None = None) -> None:
    """Raises AttemptLost if another attempt took over: then nothing was written."""
    if not await jobs.succeed_all([Success(job, tuple(images), note)]):
        raise AttemptLost
