"""The body of a callback, in the tongue of the request that made the job. No I/O."""

import orjson

from jobs.dialects.tams_response import job_body
from jobs.job import JobView
from jobs.links import Links

_BODIES = {"tams": job_body}


def callback_body(view: JobView, links: Links) -> bytes:
    """What a look at the job answers."""
    return orjson.dumps(_BODIES[view.job.dialect](view, links))
