"""TAMS, outwards: jobs and errors to bodies. No I/O.

64-bit integers are strings, as protobuf's JSON has them. `queue_rank` and `queue_len` repeat their camelCase
twins, because a published client reads that spelling.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from jobs.dialects import tams_answers as answers
from jobs.errors import (
    DarkroomError,
    Fault,
    InsufficientCredits,
    InvalidSubmission,
    JobEnded,
    LinkRefused,
    NotAuthenticated,
    NotFound,
    PermissionDenied,
    RateLimited,
    RequestIdConflict,
    TooLarge,
    TooManyStreams,
    TooManyWaiting,
    Unavailable,
    Unimplemented,
)
from jobs.explanation import Circumstances, explain
from jobs.job import Estimate, Image, JobStatus, JobView, Preview, Progress, QueuePlace, Range, ToldJob
from jobs.links import Links

BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
# No field of this API is called so.
WHOLE_BODY = "body"
RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"
ERROR_INFO = "type.googleapis.com/google.rpc.ErrorInfo"

IMAGE_LINK_LIFETIME = timedelta(hours=24)
PREVIEW_LINK_LIFETIME = timedelta(minutes=10)


def job_body(view: JobView, links: Links, *, just_created: bool = False) -> answers.JobAnswer:
    """The answer to POST and GET, and the body of a callback."""
    job = view.job
    body: answers.Job = {
        "id": str(job.id),
        "requestId": job.request_id,
        "status": "CREATED" if just_created else job.status.value,
    }
    # A job that failed or was canceled costs nothing.
    if job.credits and job.status not in (JobStatus.FAILED, JobStatus.CANCELED):
        body["credits"] = float(job.credits)
    match job.status:
        # Without a place there is no waitingInfo at all: a published client demands queue_rank in it.
        case JobStatus.WAITING if view.place:
            body["waitingInfo"] = _waiting_info(view.place)
        case JobStatus.RUNNING:
            body["runningInfo"] = _running_info(job, view.progress, links)
        case JobStatus.SUCCESS:
            body["successInfo"] = {"images": [_image(image, links) for image in job.images]}
        case JobStatus.FAILED if job.failure:
            body["failedInfo"] = {"reason": job.failure.reason, "code": job.failure.code.value}
    if view.estimate:
        body["estimate"] = _estimate(view.estimate)
    if view.missing is not None:
        body["isPossible"] = not view.missing
    if view.missing:
        body["impossibleBecause"] = list(view.missing)
    return {"job": body}


def detected_body(image: Image, links: Links) -> answers.DetectAnswer:
    """The answer to a detection. What is in `result` is ours: the API publishes that it is an object, and no more."""
    return {"result": {"resourceImage": _image(image, links)}}


def canceled_body(job_id: int) -> answers.CancelAnswer:
    """The answer to a cancel, in both spellings: a published client demands the second."""
    return {"jobId": str(job_id), "job_id": str(job_id)}


def explanation_body(view: JobView, around: Circumstances) -> answers.ExplanationAnswer:
    body: answers.ExplanationAnswer = {"explanation": explain(view, around)}
    if view.job.status == JobStatus.WAITING:
        body["workersAlive"] = around.workers
        if view.place:
            body["jobsBefore"] = view.place.rank - 1
            if around.own_before is not None:
                body["yourJobsBefore"] = around.own_before
    # What was foretold a moment ago knows nothing of a pause.
    is_held = view.job.status == JobStatus.WAITING and around.paused
    if view.estimate and not is_held:
        body["estimate"] = _estimate(view.estimate)
    return body


def _waiting_info(place: QueuePlace) -> answers.WaitingInfo:
    rank, length = str(place.rank), str(place.length)
    return {"queueRank": rank, "queueLen": length, "queue_rank": rank, "queue_len": length}


def _estimate(estimate: Estimate) -> answers.Estimate:
    body: answers.Estimate = {"endsIn": _range(estimate.ends_in)}
    if estimate.starts_in:
        body["startsIn"] = _range(estimate.starts_in)
    return body


def _range(seconds: Range) -> answers.Range:
    return {"p50": round(seconds.p50, 1), "p90": round(seconds.p90, 1)}


def _running_info(job: ToldJob, progress: Progress | None, links: Links) -> answers.RunningInfo:
    if progress is None:
        return {"processingImages": []}
    images = [_processing_image(job, progress, preview, links) for preview in progress.previews]
    return {
        "processingImages": images or [{"progress": progress.fraction}],
        "stageIndex": str(progress.stage),
        "step": progress.step,
        "steps": progress.steps,
    }


def _processing_image(job: ToldJob, progress: Progress, preview: Preview, links: Links) -> answers.ProcessingImage:
    name = preview.name(job.id, progress.attempt)
    resource = _resource_image(name, f"/v1/previews/{name}", PREVIEW_LINK_LIFETIME, preview, links)
    return {"resourceImage": resource, "progress": progress.fraction}


def _image(image: Image, links: Links) -> answers.ResourceImage:
    lifetime = IMAGE_LINK_LIFETIME
    if image.expires_at is not None:  # no link is promised to live longer than what it shows
        lifetime = max(min(lifetime, image.expires_at - links.now()), timedelta(0))
    return _resource_image(str(image.id), f"/v1/images/{image.id}", lifetime, image, links)


def _resource_image(
    name: str, path: str, lifetime: timedelta, picture: Image | Preview, links: Links
) -> answers.ResourceImage:
    return {
        "id": name,
        "url": links.sign("GET", path, lifetime),
        "expiredIn": str(int(lifetime.total_seconds())),
        "image": {"format": picture.format, "width": picture.width, "height": picture.height},
    }


# HTTP status and google.rpc.Code. Source: google/rpc/code.proto; TAMS's own table of HTTP errors.
_CODES: dict[type[DarkroomError], tuple[int, int]] = {
    InvalidSubmission: (400, 3),
    NotAuthenticated: (401, 16),
    PermissionDenied: (403, 7),
    RateLimited: (429, 8),
    LinkRefused: (403, 7),
    NotFound: (404, 5),
    RequestIdConflict: (409, 6),
    JobEnded: (400, 9),
    InsufficientCredits: (400, 9),
    TooManyWaiting: (429, 8),
    TooLarge: (413, 3),
    TooManyStreams: (429, 8),
    Unimplemented: (501, 12),
    Unavailable: (503, 14),
}


def status_of(error: type[DarkroomError]) -> int:
    """The HTTP status of such errors."""
    return _CODES.get(error, (500, 13))[0]


def error_body(error: DarkroomError) -> tuple[int, answers.StatusAnswer]:
    """HTTP status and google.rpc.Status of an error. Anything that is not the caller's doing is a 500."""
    status, code = _CODES.get(type(error), (500, 13))
    body: answers.StatusAnswer = {"code": code, "message": error.message, "details": []}
    if isinstance(error, InvalidSubmission):
        body["details"] = [_bad_request(error.faults)]
    if isinstance(error, NotFound) and error.field:
        body["details"] = [_bad_request([Fault(error.field, error.message)])]
    if isinstance(error, RateLimited):
        body["details"] = [{"@type": RETRY_INFO, "retryDelay": f"{error.wait_s:.3f}s"}]
    if isinstance(error, InsufficientCredits):
        body["details"] = [_error_info("INSUFFICIENT_CREDITS", error.facts)]
    if isinstance(error, TooManyWaiting):
        body["details"] = [_error_info("TOO_MANY_WAITING", error.facts)]
    return status, body


def _bad_request(faults: Sequence[Fault]) -> dict[str, Any]:
    violations = [{"field": fault.path or WHOLE_BODY, "description": fault.reason} for fault in faults]
    return {"@type": BAD_REQUEST, "fieldViolations": violations}


def _error_info(reason: str, facts: dict[str, str]) -> dict[str, Any]:
    return {"@type": ERROR_INFO, "reason": reason, "domain": "darkroom", "metadata": facts}
