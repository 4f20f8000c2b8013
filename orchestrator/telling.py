"""What who asks for a job is answered. In steps, as it was read."""

from collections.abc import Sequence

import orjson

from jobs.dialects.tams_response import job_body
from jobs.job import JobView
from jobs.links import Links
from orchestrator.drafting import Draft, Step
from orchestrator.foresight import Foresight
from orchestrator.job_views import JobViews


class Telling:
    def __init__(self, views: JobViews, foresight: Foresight, links: Links) -> None:
        self._views = views
        self._foresight = foresight
        self._links = links
        self.of_known: Sequence[Step] = (self._answer, _write)
        self.of_new: Sequence[Step] = (self._view, *self.of_known)

    async def look_up(self, known: Sequence[Draft]) -> None:
        """What is to be told of jobs that had been accepted before."""
        views = await self._views.of([draft.accepted.job for draft in known])
        for draft, view in zip(known, views, strict=True):
            draft.view = view

    async def body(self, known: Draft) -> bytes:
        await self.look_up([known])
        for step in self.of_known:
            step(known)
        return known.told

    def _view(self, new: Draft) -> None:
        """Of what its place has just been told."""
        job, place = new.accepted.job, new.accepted.place
        new.view = JobView(
            job=job,
            place=place,
            estimate=self._foresight.estimate(job, place),
            missing=self._foresight.missing(job, place),
        )

    def _answer(self, draft: Draft) -> None:
        draft.answer = job_body(draft.view, self._links, just_created=draft.accepted.is_new)


def _write(draft: Draft) -> None:
    draft.told = orjson.dumps(draft.answer)
