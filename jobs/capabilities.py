"""What this service parses and prices but cannot do yet, in one place. Build it, and delete its line."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, TypeAlias, get_args

from jobs.errors import Fault, TransitoryFailure
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_adetailer import ImageToAdetailer
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import ImageToUpscaler
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.redrawing import Redrawing
from jobs.submission import Submission

RunnableStage: TypeAlias = (
    InputInitialize | Diffusion | ImageToInpaint | ImageToUpscaler | ImageToAdetailer | ControlnetDetect
)

RUNNABLE = frozenset(
    str(field.default) for stage in get_args(RunnableStage) for field in fields(stage) if field.name == "type"
)
"""The types of the stages that workers of this version run."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`name` is the field as the API spells it."""

    name: str
    reason: str


# By type.
STAGES: Mapping[str, str] = {
    "IMAGE_TO_ANIMATE_DIFF": "animation is not built yet",
    "VIDEO_DIFFUSION": "video is not built yet",
}

# By the attribute of Diffusion; each is refused where it is not at its default.
DIFFUSION_FIELDS: Mapping[str, Refusal] = {
    "animations": Refusal("animateDiff", "animation is not built yet"),
    "v1_clip": Refusal("v1Clip", "the API does not say what it does, so it is not built"),
    "ella": Refusal("enableElla", "ELLA is not built yet"),
    "pix2pix": Refusal("enablePix2pix", "InstructPix2Pix is not built yet"),
    "hunyuan_dit": Refusal("useHunyuanDit", "Hunyuan-DiT is not built; the API itself calls this field deprecated"),
    "layer_diffusion": Refusal("layerDiffusion", "transparent layers are not built yet"),
    "clip_encoder": Refusal("clipEncoderName", "only the checkpoint's own text encoder is used yet"),
}

_values = attrgetter(*DIFFUSION_FIELDS)
_DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Diffusion)}
_PLAIN: tuple[Any, ...] = tuple(_DEFAULTS[name] for name in DIFFUSION_FIELDS)


def unbuilt(stage_types: Iterable[str]) -> list[Fault]:
    """The stages of these types, in order, that no worker of this version runs."""
    return [
        Fault(f"stages[{i}].type", f"{kind}: {STAGES[kind]}") for i, kind in enumerate(stage_types) if kind in STAGES
    ]


def unsupported(submission: Submission) -> list[Fault]:
    """Every stage, and every field of a stage that runs, which this service cannot honour yet."""
    faults = unbuilt([stage.type for stage in submission.stages])
    has_diffusion = False
    for i, stage in enumerate(submission.stages):
        if isinstance(stage, Diffusion):
            has_diffusion = True
            faults += _diffusion_faults(stage, f"stages[{i}].{stage.field_name}")
        elif isinstance(stage, Redrawing) and stage.type not in STAGES and not has_diffusion:
            path = f"stages[{i}].{stage.field_name}.diffusion"
            faults += _diffusion_faults(stage.diffusion, path)
            if stage.draws_parts and stage.diffusion.controls:
                faults.append(Fault(f"{path}.controlnet", "guides whole pictures, and this stage draws a part alone"))
    return faults


def runnable(submission: Submission) -> tuple[RunnableStage, ...]:
    """Its stages, for a worker. Raises TransitoryFailure where it asks for more: a newer worker may know how."""
    if faults := unsupported(submission):
        raise TransitoryFailure(f"this worker cannot run {'; '.join(map(str, faults))}")
    return tuple(stage for stage in submission.stages if isinstance(stage, RunnableStage))


def _diffusion_faults(stage: Diffusion, path: str) -> Iterator[Fault]:
    if _values(stage) == _PLAIN:
        return
    for name, refusal in DIFFUSION_FIELDS.items():
        if getattr(stage, name) != _DEFAULTS[name]:
            yield Fault(f"{path}.{refusal.name}", refusal.reason)
