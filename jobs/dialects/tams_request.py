"""TAMS, inwards: the body of POST /v1/jobs to a Submission. No I/O.

Source: the published schema and guide of the TAMS API, and what its public clients send.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field
from pydantic.alias_generators import to_camel

from jobs.capabilities import unbuilt
from jobs.catalog import Catalog
from jobs.dialects.faults import Faults
from jobs.dialects.protobuf_json import Message, Text, is_meaningful, requiring
from jobs.dialects.tams.diffusion import DiffusionBody
from jobs.dialects.tams.image_to_adetailer import ImageToAdetailerBody
from jobs.dialects.tams.image_to_animate_diff import ImageToAnimateDiffBody
from jobs.dialects.tams.image_to_inpaint import ImageToInpaintBody
from jobs.dialects.tams.image_to_upscaler import ImageToUpscalerBody
from jobs.dialects.tams.input_initialize import InputInitializeBody
from jobs.dialects.tams.reading import Reading
from jobs.dialects.tams.video_diffusion import VideoDiffusionBody
from jobs.errors import Fault
from jobs.stages import Stage
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.redrawing import Redrawing
from jobs.submission import PLAIN_ORDERS, Submission, input_faults, order_faults, upscale_faults

MAX_STAGES = 16


StageType: TypeAlias = Literal[
    "INPUT_INITIALIZE",
    "DIFFUSION",
    "IMAGE_TO_UPSCALER",
    "IMAGE_TO_ADETAILER",
    "IMAGE_TO_INPAINT",
    "IMAGE_TO_ANIMATE_DIFF",
    "VIDEO_DIFFUSION",
]

# Where a stage of this type has its fields: the API's name, and the attribute of StageBody.
OWN_FIELDS = {kind: (to_camel(kind.lower()), kind.lower()) for kind in get_args(StageType)}


class StageBody(Message):
    """`type` says which of the other fields counts; each of these is the type's name in camelCase."""

    model_config = requiring("type")

    type: StageType | None = None
    input_initialize: InputInitializeBody | None = None
    diffusion: DiffusionBody | None = None
    image_to_upscaler: ImageToUpscalerBody | None = None
    image_to_adetailer: ImageToAdetailerBody | None = None
    image_to_inpaint: ImageToInpaintBody | None = None
    image_to_animate_diff: ImageToAnimateDiffBody | None = None
    video_diffusion: VideoDiffusionBody | None = None

    def stage(self, path: str, reading: Reading) -> Stage | None:
        if self.type is None:
            reading.faults.add(f"{path}.type", "is required")
            return None
        name, field = OWN_FIELDS[self.type]
        body = getattr(self, field)
        if body is None or len(self.model_fields_set) > 2:
            self._refuse_others(path, reading)
        if body is None:
            reason = f"a stage of type {self.type} needs its fields in '{name}'"
            reading.faults.add(path, reason, reads=[f"{path}.{name}"])
            return None
        stage: Stage = body.stage(f"{path}.{name}", reading)
        return stage

    def _refuse_others(self, path: str, reading: Reading) -> None:
        for kind, (name, field) in OWN_FIELDS.items():
            if kind != self.type and is_meaningful(getattr(self, field)):
                reading.faults.add(f"{path}.{name}", f"does not belong to a stage of type {self.type}")


def _is_http(url: str) -> str:
    if url and not _is_http_address(url):
        raise ValueError("must be an address that begins with http:// or https://")
    return url


Address = Annotated[Text, Field(max_length=2048), AfterValidator(_is_http)]


class StagesBody(Message):
    model_config = requiring("stages")

    stages: Annotated[list[StageBody], Field(min_length=1, max_length=MAX_STAGES)] | None = None


class JobBody(StagesBody):
    model_config = requiring("stages", "requestId")

    request_id: Annotated[Text, Field(max_length=256)] | None = None
    notify_url: Address | None = None
    running_notify_url: Address | None = None


class JobReading:
    """One body on its way to a Submission, in the two looks that `Faults` tells of."""

    def __init__(self, body: Any, catalog: Catalog) -> None:
        self._reading = Reading(catalog, Faults(body))

    def look_at_fields(self) -> None:
        """Raises InvalidSubmission where the faults are too many to go on."""
        self._job = self._reading.faults.read(JobBody)

    def submission(self, refusals: Callable[[Submission], list[Fault]] | None = None) -> Submission:
        """What it asks for, once its fields were looked at.

        Raises InvalidSubmission with all its faults; among them are those that `refusals` finds in what could be read.
        """
        job, faults = self._job, self._reading.faults
        stages = _stages(job.stages, self._reading)
        submission = Submission(
            request_id=self._reading.required(job.request_id, "requestId"),
            stages=stages,
            notify_url=job.notify_url or None,
            running_notify_url=job.running_notify_url or None,
        )
        # A stage that is missing would shift the paths of those behind it.
        if refusals and len(stages) == len(job.stages or ()):
            faults.take(refusals(submission))
        if refusals and faults.found:
            faults.lead(unbuilt([body.type or "" for body in job.stages or ()]))
        faults.raise_any()
        return submission


def parse_stages(body: Any, catalog: Catalog) -> tuple[Stage, ...]:
    """The stages of a body that has nothing else, and asks what they cost. Raises InvalidSubmission with all faults."""
    reading = Reading(catalog, Faults(body))
    stages = _stages(reading.faults.read(StagesBody).stages, reading)
    reading.faults.raise_any()
    return stages


def input_paths(submission: Submission) -> dict[str, str]:
    """The resources that it reads, each with the field that names it first."""
    paths: dict[str, str] = {}
    for i, stage in enumerate(submission.stages):
        for field, resource in _input_fields(stage):
            if resource:
                paths.setdefault(resource, f"stages[{i}].{stage.field_name}.{field}")
    return paths


def _input_fields(stage: Stage) -> Iterator[tuple[str, str | None]]:
    match stage:
        case InputInitialize():
            yield "imageResourceId", stage.image_resource_id
        case Diffusion():
            for i, control in enumerate(stage.controls):
                yield f"controlnet.args[{i}].inputImageResourceId", control.image
                yield f"controlnet.args[{i}].maskResourceId", control.mask
        case Redrawing():
            if isinstance(stage, ImageToInpaint):
                yield "maskImageResourceId", stage.mask
            for field, resource in _input_fields(stage.diffusion):
                yield f"diffusion.{field}", resource


def _stages(bodies: Sequence[StageBody] | None, reading: Reading) -> tuple[Stage, ...]:
    if not bodies:
        reading.faults.add("stages", "is required")
        return ()
    types = [body.type or "" for body in bodies]
    is_plain = types in PLAIN_ORDERS
    if not is_plain:
        reading.faults.take(order_faults(types))
    stages: list[Stage] = []
    for i, body in enumerate(bodies):
        stage = body.stage(f"stages[{i}]", reading)
        if stage is not None:
            stages.append(stage)
        if isinstance(stage, Diffusion):
            reading.diffusion = stage
        if isinstance(stage, InputInitialize):
            reading.initial_picture = stage.image_resource_id
    if len(stages) == len(bodies) and not is_plain:
        reading.faults.take(input_faults(stages))
        reading.faults.take(upscale_faults(stages), reads=["stages"])
    return tuple(stages)


def _is_http_address(url: str) -> bool:
    if not url.isprintable() or " " in url:
        return False  # urlsplit would drop what a receiver's address keeps
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
