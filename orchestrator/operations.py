"""Every operation of the API that does something, told once: the reference is made from this table, and a test holds
the routes to it."""

from typing import Any

from jobs.dialects import tams_answers as answers
from jobs.dialects.tams_deliveries import (
    CallbackTestBody,
    DeliveryListParameters,
    DestinationListParameters,
    ReplayParameters,
)
from jobs.dialects.tams_list import ListParameters
from jobs.dialects.tams_request import JobBody, StagesBody
from jobs.errors import (
    InsufficientCredits,
    InvalidSubmission,
    JobEnded,
    LinkRefused,
    NotFound,
    RequestIdConflict,
    TooLarge,
    TooManyStreams,
    TooManyWaiting,
)
from orchestrator.detect_api import DETECT_PATH, DetectBody
from orchestrator.job_bounds import BOUNDS, LONGEST_S
from orchestrator.models_api import ACCESS_KEY_HEADER, ListQuery
from orchestrator.openapi import Operation, Parameter
from orchestrator.resources_api import FORM_PATH, UploadBody

JOBS, CALLBACKS, MODELS, PICTURES = "Jobs", "Callbacks", "Models", "Pictures"

JOB_ID = Parameter(
    name="id", place="path", description="The job's id.", schema={"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}
)
DELIVERY_ID = Parameter(
    name="id",
    place="path",
    description="The callback's `webhook-id`.",
    schema={"type": "string", "pattern": "^msg_[0-9a-f]{32}$"},
)
BOUND = {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_S}
BOUNDED = tuple(
    Parameter(name=name, place="header", description=f"{says} In seconds.", schema=BOUND)
    for name, says in zip(
        BOUNDS,
        (
            "From acceptance to the first attempt: a job that has not started by then fails.",
            "From acceptance to the end: a job that is not done by then fails, even while it is drawn.",
            "Of one attempt, which is then stopped and tried again. An operator's bound holds too.",
        ),
        strict=True,
    )
)
ACCESS_KEY = Parameter(name=ACCESS_KEY_HEADER, place="header", description="Opens private models.")
LINK = (
    Parameter(
        name="expires",
        place="query",
        description="Unix seconds, as in the link.",
        schema={"type": "string", "pattern": "^[0-9]{1,12}$"},
        required=True,
    ),
)

_STAGES: list[dict[str, Any]] = [
    {"type": "INPUT_INITIALIZE", "inputInitialize": {"seed": "42", "count": 1}},
    {
        "type": "DIFFUSION",
        "diffusion": {
            "width": 512,
            "height": 512,
            "prompts": [{"text": "a red circle on a blue background"}],
            "sampler": "DPM++ 2M Karras",
            "steps": 20,
            "cfgScale": 7,
        },
    },
]
_JOB = {"id": "7", "requestId": "my-first-picture"}
_IMAGE = {
    "id": "f204c24a-5d0f-4c1c-9d26-9f2f4c5a7c11",
    "url": "http://127.0.0.1:8080/v1/images/f204c24a-5d0f-4c1c-9d26-9f2f4c5a7c11?expires=1777637400&signature=…",
    "expiredIn": "86400",
    "image": {"format": "png", "width": 512, "height": 512},
}

_DELIVERY = {
    "id": "msg_f204c24a5d0f4c1c9d269f2f4c5a7c11",
    "jobId": "7",
    "kind": "TERMINAL",
    "url": "https://client.example/hook",
    "state": "PENDING",
    "tries": 1,
    "lastStatus": 503,
    "lastError": "answered 503",
    "createdAt": "2026-05-01T12:00:00+00:00",
    "nextTryAt": "2026-05-01T12:00:06+00:00",
}

OPERATIONS: tuple[Operation, ...] = (
    Operation(
        id="createJob",
        method="POST",
        path="/v1/jobs",
        tag=JOBS,
        summary="Accept a job",
        description="Idempotent by `requestId`: the same body again gives the same job, for ever; another body with "
        "that id is refused. The answer comes when the job is durable and has its place in the queue. Of a repeat only "
        "the body counts: the job keeps the bounds that it was accepted with.",
        parameters=BOUNDED,
        body=JobBody,
        body_example={"requestId": "my-first-picture", "stages": _STAGES},
        answer=answers.JobAnswer,
        answer_example={"job": _JOB | {"status": "CREATED"}},
        errors=(InvalidSubmission, RequestIdConflict, InsufficientCredits, TooManyWaiting, TooLarge),
    ),
    Operation(
        id="listJobs",
        method="GET",
        path="/v1/jobs",
        tag=JOBS,
        summary="List your jobs, newest first",
        query=ListParameters,
        answer=answers.JobsAnswer,
        answer_example={"jobs": [_JOB | {"status": "CANCELED"}]},
        errors=(InvalidSubmission,),
    ),
    Operation(
        id="priceJob",
        method="POST",
        path="/v1/jobs/credits",
        tag=JOBS,
        summary="Ask what a job would cost",
        body=StagesBody,
        body_example={"stages": _STAGES},
        answer=answers.CreditsAnswer,
        answer_example={"credits": 0.8},
        errors=(InvalidSubmission, TooLarge),
    ),
    Operation(
        id="getJob",
        method="GET",
        path="/v1/jobs/{id}",
        tag=JOBS,
        summary="See a job: its rank, its progress, its pictures",
        parameters=(JOB_ID,),
        answer=answers.JobAnswer,
        answer_example={"job": _JOB | {"status": "SUCCESS", "successInfo": {"images": [_IMAGE]}}},
        errors=(NotFound,),
    ),
    Operation(
        id="explainJob",
        method="GET",
        path="/v1/jobs/{id}/explain",
        tag=JOBS,
        summary="Ask why a job waits, and until when",
        description="One sentence for people, and its numbers. `estimate` is in seconds from now: `p50` holds in one "
        "of two cases, `p90` in nine of ten. `workersAlive` are those of the job's pool, which it waits in.",
        parameters=(JOB_ID,),
        answer=answers.ExplanationAnswer,
        answer_example={
            "explanation": "3 jobs are before it, 2 of them yours; 1 worker is alive and at work; it should start in "
            "about 12 s, and nine times out of ten within 20 s.",
            "jobsBefore": 3,
            "yourJobsBefore": 2,
            "workersAlive": 1,
            "estimate": {"startsIn": {"p50": 12.1, "p90": 20.4}, "endsIn": {"p50": 15.9, "p90": 24.6}},
        },
        errors=(NotFound,),
    ),
    Operation(
        id="deleteJob",
        method="DELETE",
        path="/v1/jobs/{id}",
        tag=JOBS,
        summary="Cancel a job",
        description="A waiting job ends at once, a running one at its next step. To cancel again changes nothing.",
        parameters=(JOB_ID,),
        answer=answers.CancelAnswer,
        answer_example={"jobId": "7", "job_id": "7"},
        errors=(NotFound, JobEnded),
    ),
    Operation(
        id="cancelJob",
        method="POST",
        path="/v1/jobs/{id}/cancel",
        tag=JOBS,
        summary="Cancel a job; another name of DELETE",
        parameters=(JOB_ID,),
        answer=answers.CancelAnswer,
        errors=(NotFound, JobEnded),
    ),
    Operation(
        id="streamJob",
        method="GET",
        path="/v1/jobs/{id}/events",
        tag=JOBS,
        summary="Follow a job as server-sent events",
        description="Ends with the job. A client that comes again with Last-Event-ID hears what it has missed; once it "
        "has heard the end it is answered 204.",
        parameters=(JOB_ID, Parameter(name="Last-Event-ID", place="header", description="The last id that was heard.")),
        answer_media="text/event-stream",
        answer_example='id: 12\nevent: started\ndata: {"job":{"id":"7",…},"event":{"kind":"STARTED",…}}\n',
        also=(204,),
        errors=(NotFound, TooManyStreams),
    ),
    Operation(
        id="listJobDeliveries",
        method="GET",
        path="/v1/jobs/{id}/deliveries",
        tag=CALLBACKS,
        summary="See what became of a job's callbacks: each with all its attempts",
        parameters=(JOB_ID,),
        answer=answers.JobDeliveriesAnswer,
        answer_example={"deliveries": [_DELIVERY]},
        errors=(NotFound,),
    ),
    Operation(
        id="listDeliveries",
        method="GET",
        path="/v1/deliveries",
        tag=CALLBACKS,
        summary="List your callbacks, newest first",
        query=DeliveryListParameters,
        answer=answers.DeliveriesAnswer,
        answer_example={"deliveries": [_DELIVERY]},
        errors=(InvalidSubmission,),
    ),
    Operation(
        id="replayDelivery",
        method="POST",
        path="/v1/deliveries/{id}/replay",
        tag=CALLBACKS,
        summary="Send a callback again",
        description="With the same `webhook-id`, and all tries before it. One that waits for its next try goes now. A "
        "start or progress is not sent again.",
        parameters=(DELIVERY_ID,),
        answer=answers.DeliveryAnswer,
        answer_example={"delivery": _DELIVERY},
        errors=(InvalidSubmission, NotFound),
    ),
    Operation(
        id="replayDeliveries",
        method="POST",
        path="/v1/deliveries/replay",
        tag=CALLBACKS,
        summary="Send all dead callbacks again, or those of a period",
        description="The oldest first, and at most 10,000 at a time: `replayed` says how many.",
        query=ReplayParameters,
        answer=answers.ReplayAnswer,
        answer_example={"replayed": 12},
        errors=(InvalidSubmission,),
    ),
    Operation(
        id="testDelivery",
        method="POST",
        path="/v1/deliveries/test",
        tag=CALLBACKS,
        summary="Send a test to an address",
        description='Signed like all others; its body is `{"test": true}`. An answer of 2xx enables a disabled '
        "destination again.",
        body=CallbackTestBody,
        body_example={"url": "https://client.example/hook"},
        answer=answers.DeliveryAnswer,
        errors=(InvalidSubmission, TooLarge),
    ),
    Operation(
        id="listDestinations",
        method="GET",
        path="/v1/deliveries/destinations",
        tag=CALLBACKS,
        summary="List where your callbacks go, and which addresses fail or are disabled",
        query=DestinationListParameters,
        answer=answers.DestinationsAnswer,
        answer_example={"destinations": [{"origin": "https://client.example", "state": "OPEN", "failures": 0}]},
        errors=(InvalidSubmission,),
    ),
    Operation(
        id="listModels",
        method="GET",
        path="/v1/models",
        tag=MODELS,
        summary="List the models that jobs may name",
        parameters=(ACCESS_KEY,),
        query=ListQuery,
        answer=answers.ModelsAnswer,
        errors=(InvalidSubmission,),
    ),
    Operation(
        id="getModel",
        method="GET",
        path="/v1/models/{id}",
        tag=MODELS,
        summary="See a model",
        parameters=(Parameter(name="id", place="path", description="The model's id."), ACCESS_KEY),
        answer=answers.ModelAnswer,
        errors=(NotFound,),
    ),
    Operation(
        id="createUpload",
        method="POST",
        path="/v1/resource/image",
        tag=PICTURES,
        summary="Ask for an address to PUT a picture to",
        body=UploadBody,
        body_required=False,
        body_example={},
        answer=answers.UploadAnswer,
        errors=(InvalidSubmission, TooLarge),
    ),
    Operation(
        id="uploadPicture",
        method="PUT",
        path="/v1/resource/image/{id}",
        tag=PICTURES,
        summary="Upload a picture",
        description="PNG, JPEG or WebP, one frame. Use the `putUrl` as it was given.",
        security="link",
        parameters=(Parameter(name="id", place="path", description="The resource's id."), *LINK),
        body_media="application/octet-stream",
        answer=answers.StoredAnswer,
        answer_example={"Status": "OK"},
        errors=(InvalidSubmission, LinkRefused, NotFound, TooLarge),
    ),
    Operation(
        id="createUploadForm",
        method="POST",
        path="/v1/resource/image/sts",
        tag=PICTURES,
        summary="Ask for a signed form, for a browser to POST a picture with",
        body=UploadBody,
        body_required=False,
        body_example={},
        answer=answers.UploadFormAnswer,
        errors=(InvalidSubmission, TooLarge),
    ),
    Operation(
        id="uploadByForm",
        method="POST",
        path=FORM_PATH,
        tag=PICTURES,
        summary="Upload a picture by a signed form",
        description="Fields in this order or another, the file last: OSSAccessKeyId (accessId), policy, Signature, key "
        "(filePath), callback, x-oss-security-token (securityToken), success_action_status (200, 201 or 204), file.",
        security="form",
        body_media="multipart/form-data",
        answer=answers.StoredAnswer,
        also=(201, 204),
        errors=(InvalidSubmission, LinkRefused, NotFound, TooLarge),
    ),
    Operation(
        id="detect",
        method="POST",
        path=DETECT_PATH,
        tag=PICTURES,
        summary="See what a ControlNet's preprocessor makes of a picture",
        description="A picture of the account's own. No side is over 2048 pixels. What algorithms make is computed at "
        "once, and kept for 7 days. Those that look with a network are asked of a worker, by a job of the account that "
        "costs nothing, is waited for up to 60 seconds, and whose output it is; 503 says why none came.",
        body=DetectBody,
        body_example={"controlnetModule": "canny", "resourceId": "f204c24a-52dc-4cf4-930a-9b8f73969414"},
        answer=answers.DetectAnswer,
        errors=(InvalidSubmission, NotFound, InsufficientCredits, TooManyWaiting, TooLarge),
    ),
    Operation(
        id="getPicture",
        method="GET",
        path="/v1/images/{id}",
        tag=PICTURES,
        summary="Fetch a finished picture by its signed link",
        security="link",
        parameters=(Parameter(name="id", place="path", description="The picture's id."), *LINK),
        answer_media="image/png",
        errors=(LinkRefused, NotFound),
    ),
    Operation(
        id="getPreview",
        method="GET",
        path="/v1/previews/{name}",
        tag=PICTURES,
        summary="Fetch a preview by its signed link",
        security="link",
        parameters=(Parameter(name="name", place="path", description="The preview's name."), *LINK),
        answer_media="image/jpeg",
        errors=(LinkRefused, NotFound),
    ),
)
