"""What who asks for a job is answered, for many at once."""

from collections.abc import Sequence

import orjson

from jobs.dialects.tams_response import job_body
from jobs.job import JobView
from jobs.links import Links
from orchestrator.entering import Accepted
from orchestrator.foresight import Foresight
from orchestrator.job_views import JobViews


class Telling:
    def __init__(self, views: JobViews, foresight: Foresight, links: Links) -> None:
        self._views = views
        self._foresight = foresight
        self._links = links

    async def bodies(self, accepted: Sequence[Accepted]) -> Sequence[bytes]:
        """In their order. As in `Drafting`, all take a step before any takes the next."""
        views = await self._views_of(accepted)
        bodies = [
            job_body(view, self._links, just_created=one.is_new) for one, view in zip(accepted, views, strict=True)
        ]
        return [orjson.dumps(body) for body in bodies]

    async def _views_of(self, accepted: Sequence[Accepted]) -> Sequence[JobView]:
        known = [one.job for one in accepted if not one.is_new]
        views = {view.job.id: view for view in await self._views.of(known)} if known else {}
        return [self._view(one) if one.is_new else views[one.job.id] for one in accepted]

    def _view(self, new: Accepted) -> JobView:
        """Of what its place has just been told."""
        return JobView(
            job=new.job,
            place=new.place,
            estimate=self._foresight.estimate(new.job, new.place),
            missing=self._foresight.missing(new.job, new.place),
        )
