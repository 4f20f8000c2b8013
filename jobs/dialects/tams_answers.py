"""The bodies that the TAMS dialect answers with, as types: mypy holds the answers to them, OpenAPI is made from them.

64-bit integers are strings of digits.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic reads typing's own from Python 3.12 on

Digits = Annotated[str, Field(pattern=r"^[0-9]+$")]
Share = Annotated[float, Field(ge=0, le=1)]


class Size(TypedDict):
    format: str
    width: int
    height: int


class ResourceImage(TypedDict):
    """`url` is signed; `expiredIn` is how many seconds it works."""

    id: str
    url: str
    expiredIn: Digits
    image: Size


class WaitingInfo(TypedDict):
    """`queueRank` counts from 1: the jobs that start before this one, and itself. The other two are twins."""

    queueRank: Digits
    queueLen: Digits
    queue_rank: Digits
    queue_len: Digits


class Range(TypedDict):
    """Seconds from now: it should be sooner in one of two cases, and in nine of ten."""

    p50: float
    p90: float


class Estimate(TypedDict):
    """`startsIn` is there while the job waits. Nothing is told while no worker takes jobs."""

    startsIn: NotRequired[Range]
    endsIn: Range


class ExplanationAnswer(TypedDict):
    """Why a job waits, in a sentence for people. The numbers are there while it does."""

    explanation: str
    jobsBefore: NotRequired[int]
    yourJobsBefore: NotRequired[int]
    workersAlive: NotRequired[int]
    estimate: NotRequired[Estimate]


class ProcessingImage(TypedDict):
    resourceImage: NotRequired[ResourceImage]
    progress: Share


class RunningInfo(TypedDict):
    processingImages: list[ProcessingImage]
    stageIndex: NotRequired[Digits]
    step: NotRequired[int]
    steps: NotRequired[int]


class FailedInfo(TypedDict):
    reason: str
    code: Literal["TRANSITORY_ERROR", "FATAL_ERROR"]


class SuccessInfo(TypedDict):
    images: list[ResourceImage]


class Job(TypedDict):
    """`isPossible` is there while the job waits: whether a worker that is alive can run it. If none can, it waits for
    one, and `impossibleBecause` says what is missing."""

    id: Digits
    requestId: str
    status: Literal["CREATED", "WAITING", "RUNNING", "SUCCESS", "FAILED", "CANCELED"]
    credits: NotRequired[float]
    waitingInfo: NotRequired[WaitingInfo]
    runningInfo: NotRequired[RunningInfo]
    successInfo: NotRequired[SuccessInfo]
    failedInfo: NotRequired[FailedInfo]
    estimate: NotRequired[Estimate]
    isPossible: NotRequired[bool]
    impossibleBecause: NotRequired[list[str]]


class JobAnswer(TypedDict):
    job: Job


class JobsAnswer(TypedDict):
    """A page; without `nextCursor` it is the last."""

    jobs: list[Job]
    nextCursor: NotRequired[str]


class DeliveryAttempt(TypedDict):
    """One sending of a callback: without `status` no answer came, without `error` it was delivered. `answer` is how
    the receiver's body began."""

    startedAt: str
    seconds: float
    status: NotRequired[int]
    error: NotRequired[str]
    answer: NotRequired[str]
    nextTryAt: NotRequired[str]


class Delivery(TypedDict):
    """A callback. `id` is its `webhook-id`; `nextTryAt` is there while it is PENDING."""

    id: str
    jobId: NotRequired[Digits]
    kind: Literal["RUNNING", "PROGRESS", "TERMINAL", "TEST"]
    url: str
    state: Literal["PENDING", "DELIVERED", "SUPERSEDED", "DEAD"]
    tries: int
    lastStatus: NotRequired[int]
    lastError: NotRequired[str]
    createdAt: str
    nextTryAt: NotRequired[str]
    settledAt: NotRequired[str]
    attempts: NotRequired[list[DeliveryAttempt]]


class DeliveryAnswer(TypedDict):
    delivery: Delivery


class JobDeliveriesAnswer(TypedDict):
    deliveries: list[Delivery]


class DeliveriesAnswer(TypedDict):
    """A page; without `nextCursor` it is the last."""

    deliveries: list[Delivery]
    nextCursor: NotRequired[str]


class ReplayAnswer(TypedDict):
    replayed: int


class Destination(TypedDict):
    """Scheme, host and port of callbacks, or `*`: all beyond the 256th. FAILING: one at a time is tried, next at
    `nextTryAt`; the others wait. DISABLED: nothing is sent until a test or a replay is answered with 2xx."""

    origin: str
    state: Literal["OPEN", "FAILING", "DISABLED"]
    failures: int
    failingSince: NotRequired[str]
    nextTryAt: NotRequired[str]
    disabledAt: NotRequired[str]


class DestinationsAnswer(TypedDict):
    destinations: list[Destination]
    nextCursor: NotRequired[str]


class CancelAnswer(TypedDict):
    jobId: Digits
    job_id: Digits


class CreditsAnswer(TypedDict):
    credits: float


class Model(TypedDict):
    """A job may name it by its `id`, its `name` or one of its `aliases`."""

    id: Digits
    name: str
    aliases: NotRequired[list[str]]
    description: str
    baseModel: str
    modelType: str
    kind: str
    showcaseImageUrls: list[str]
    projectName: str
    licence: NotRequired[str]
    triggerWords: NotRequired[list[str]]


class ModelAnswer(TypedDict):
    model: Model


class ModelsAnswer(TypedDict):
    models: list[Model]
    nextCursor: NotRequired[str]


class Detected(TypedDict):
    """`resourceImage.id` may be named as `inputImageResourceId` with the preprocessor `none`."""

    resourceImage: ResourceImage


class DetectAnswer(TypedDict):
    result: Detected


class UploadAnswer(TypedDict):
    """PUT the picture's bytes to `putUrl` with exactly `headers`."""

    resourceId: str
    putUrl: str
    headers: dict[str, str]


class UploadFormAnswer(TypedDict):
    """POST a form to `host`: OSSAccessKeyId (`accessId`), policy, Signature, key (`filePath`), callback,
    x-oss-security-token (`securityToken`), and last the file."""

    resourceId: str
    accessId: str
    signature: str
    host: str
    expire: str
    callback: str
    filePath: str
    policy: str
    securityToken: str


class StoredAnswer(TypedDict):
    Status: Literal["OK"]


class StatusAnswer(TypedDict):
    """google.rpc.Status: every error. `code` is a google.rpc.Code."""

    code: int
    message: str
    details: list[dict[str, Any]]
