"""What has happened and happens to a job, as server-sent events. No I/O.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from collections.abc import Mapping
from typing import Any

import orjson

from jobs.dialects.tams_response import job_body
from jobs.events import EventKind, JobEvent
from jobs.job import JobStatus, JobView
from jobs.links import Links

HEARTBEAT = b":\n\n"
# After a stream was cut, and not ended by the job.
RETRY = b"retry: 1000\n\n"
# The detail of a start names a machine, which is no one's business outside.
_WITH_REASON = (EventKind.REQUEUED, EventKind.FAILED)


def durable_event(event: JobEvent, view: JobView, links: Links) -> bytes:
    """Something that happened, and the job as it is now. A client that names its id later resumes after it."""
    body = job_body(view, links) | {"event": _event(event)}
    return f"id: {event.id}\n".encode() + _message(event.kind.lower(), body)


def live_event(view: JobView, links: Links) -> bytes:
    """`progress` or `place`. It has no id, so that resuming never skips a durable event."""
    return _message("progress" if view.job.status == JobStatus.RUNNING else "place", job_body(view, links))


def _event(event: JobEvent) -> dict[str, Any]:
    body = {"kind": event.kind.value, "attempt": event.attempt, "createdAt": event.created_at.isoformat()}
    if event.kind is EventKind.SUCCESS and event.detail:
        return body | {"note": event.detail}
    return body | ({"reason": event.detail} if event.kind in _WITH_REASON else {})


def _message(name: str, body: Mapping[str, object]) -> bytes:
    # JSON writes no line break of its own, and so fits one line of data.
    return f"event: {name}\ndata: ".encode() + orjson.dumps(body) + b"\n\n"
