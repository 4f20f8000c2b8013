"""What an account asks for: stages in order, and where to tell of them. It does not check or store."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from jobs.errors import Fault
from jobs.record import record
from jobs.stages import Stage
from jobs.stages.canvas import Size
from jobs.stages.diffusion import Diffusion
from jobs.stages.image_to_inpaint import ImageToInpaint
from jobs.stages.image_to_upscaler import MAX_PIXELS, ImageToUpscaler
from jobs.stages.input_initialize import InputInitialize
from jobs.stages.redrawing import Redrawing
from jobs.stages.video_diffusion import VideoDiffusion
from jobs.upscalers import is_latent

# Nearly every job's: nothing is wrong with the order, nor with what stages ask of each other.
PLAIN_ORDERS = (["INPUT_INITIALIZE", "DIFFUSION"],)
# A worker holds them all, in 3 bytes each.
MAX_INPUT_PIXELS = 120_000_000
VIDEO_TYPES = ("VIDEO_DIFFUSION", "IMAGE_TO_ANIMATE_DIFF")


@record
class Submission:
    """Three bounds, in seconds; None is no bound of the account's own. From acceptance: `start_within_s`, to the first
    attempt, and `end_within_s`, to the end, whatever is then at work. `attempt_within_s` is how long one attempt may
    take before it is stopped and tried again."""

    request_id: str
    stages: tuple[Stage, ...]
    notify_url: str | None = None
    running_notify_url: str | None = None
    start_within_s: float | None = None
    end_within_s: float | None = None
    attempt_within_s: float | None = None


def order_faults(stage_types: Sequence[str]) -> list[Fault]:
    """What is wrong with the order: INPUT_INITIALIZE, at most one DIFFUSION, then the stages that change pictures.

    A type that could not be read is "".
    """
    faults = []
    if stage_types[:1] != ["INPUT_INITIALIZE"]:
        faults.append(Fault("stages[0].type", "the first stage must be INPUT_INITIALIZE"))
    for kind in ("INPUT_INITIALIZE", "DIFFUSION"):
        again = [i for i, each in enumerate(stage_types) if each == kind][1:]
        faults += [Fault(f"stages[{i}].type", f"a job has one {kind} stage") for i in again]
    first = stage_types.index("DIFFUSION") if "DIFFUSION" in stage_types else 0
    if set(stage_types[:first]) - {"INPUT_INITIALIZE", ""}:
        faults.append(Fault(f"stages[{first}].type", "DIFFUSION comes before the stages that change its pictures"))
    if not set(stage_types) - {"INPUT_INITIALIZE"}:
        faults.append(Fault("stages", "a job needs a stage that makes pictures, such as DIFFUSION"))
    return faults + _faults_after_videos(stage_types)


def _faults_after_videos(stage_types: Sequence[str]) -> list[Fault]:
    for i, each in enumerate(stage_types[:-1]):
        if each in VIDEO_TYPES:
            return [Fault(f"stages[{i + 1}].type", f"no stage can follow {each}, which makes a video")]
    return []


def input_faults(stages: Sequence[Stage]) -> list[Fault]:
    """What the stages after it ask of INPUT_INITIALIZE: without DIFFUSION there is one picture, the one it names."""
    if any([isinstance(stage, Diffusion) for stage in stages]):
        return []
    faults = []
    for i, stage in enumerate(stages):
        if not isinstance(stage, InputInitialize):
            continue
        path = f"stages[{i}].{stage.field_name}"
        if stage.count != 1:
            faults.append(Fault(f"{path}.count", "must be 1 where no DIFFUSION stage draws the pictures"))
        if stage.image_resource_id is None and not any(isinstance(each, VideoDiffusion) for each in stages):
            faults.append(Fault(f"{path}.imageResourceId", "is required where no DIFFUSION stage draws a picture"))
    return faults


def upscale_faults(stages: Sequence[Stage]) -> list[Fault]:
    """Upscalers that are out of place, and upscaled pictures of too many or too few pixels."""
    if not any([isinstance(stage, ImageToUpscaler) for stage in stages]):
        return []
    faults = []
    for i, (stage, size) in enumerate(zip(stages, [None, *picture_sizes(stages)], strict=False)):
        if isinstance(stage, ImageToUpscaler):
            path = f"stages[{i}].{stage.field_name}"
            # Of a picture whose parts were drawn, the size is not known until its resource was looked up.
            if size is not None or isinstance(stages[i - 1], InputInitialize):
                faults += stage.pixel_faults(size, path)
            if is_latent(stage.upscaler) and not _has_latents(stages[:i]):
                reason = f"{stage.upscaler} works only right after a DIFFUSION stage that draws from text alone"
                faults.append(Fault(f"{path}.hrUpscaler", reason))
    return faults


def picture_faults(stages: Sequence[Stage], sizes: Mapping[str, Size], paths: Mapping[str, str]) -> list[Fault]:
    """What only the sizes of the input pictures tell; `paths` names the field of each."""
    return [*_memory_faults(sizes, paths), *mask_faults(stages, sizes), *upscale_faults(stages), *_whole_faults(stages)]


def _memory_faults(sizes: Mapping[str, Size], paths: Mapping[str, str]) -> list[Fault]:
    pixels = 0
    for name, path in paths.items():
        pixels += sizes[name][0] * sizes[name][1]
        if pixels > MAX_INPUT_PIXELS:
            reason = f"with this one, the input pictures have {pixels} pixels together; a job takes {MAX_INPUT_PIXELS}"
            return [Fault(path, reason)]
    return []


def _whole_faults(stages: Sequence[Stage]) -> list[Fault]:
    faults = []
    for i, (stage, size) in enumerate(zip(stages, [None, *picture_sizes(stages)], strict=False)):
        if isinstance(stage, Redrawing) and stage.draws_whole and size and size[0] * size[1] > MAX_PIXELS:
            reason = f"draws the whole picture again, of {_written(size)}; at most {MAX_PIXELS} pixels are drawn"
            faults.append(Fault(f"stages[{i}].{stage.field_name}", reason))
    return faults


def mask_faults(stages: Sequence[Stage], sizes: Mapping[str, Size]) -> list[Fault]:
    """Masks of another size than the picture they cover; `sizes` are those of the resources.

    Only where the stage before says that size to the pixel; what others make, the worker compares.
    """
    faults = []
    for i, (before, stage) in enumerate(pairwise(stages), 1):
        if not isinstance(stage, ImageToInpaint):
            continue
        picture, mask = _made_by(before, sizes), sizes[stage.mask]
        if picture is not None and picture != mask:
            reason = (
                f"the mask must be as large as the picture: it is {_written(mask)}, the picture {_written(picture)}"
            )
            faults.append(Fault(f"stages[{i}].{stage.field_name}.maskImageResourceId", reason))
    return faults


def _made_by(stage: Stage, sizes: Mapping[str, Size]) -> Size | None:
    match stage:
        case InputInitialize(image_resource_id=str(picture)):
            return sizes[picture]
        case Diffusion():
            return stage.width, stage.height
        case _:
            return None


def _written(size: Size) -> str:
    return f"{size[0]} × {size[1]}"


def _has_latents(before: Sequence[Stage]) -> bool:
    """Whether a latent upscaler may follow. Right after INPUT_INITIALIZE too: the published guide does so."""
    match before:
        case [InputInitialize()] | [InputInitialize(image_resource_id=None), Diffusion()]:
            return True
        case _:
            return False


def picture_sizes(stages: Sequence[Stage]) -> list[Size | None]:
    """For each stage, the size of the pictures when it is done; None while no stage has said it."""
    sizes: list[Size | None] = []
    size = initial = None
    for stage in stages:
        if isinstance(stage, InputInitialize):
            initial = stage.picture_size
        size = stage.size_after(size, initial)
        sizes.append(size)
    return sizes


def with_picture_size(stages: Sequence[Stage], sizes: Mapping[str, Size]) -> tuple[Stage, ...]:
    """The stages with the size of the initial picture, where it is among those that are known."""
    return tuple(_with_size(stage, sizes) for stage in stages)


def _with_size(stage: Stage, sizes: Mapping[str, Size]) -> Stage:
    if isinstance(stage, InputInitialize) and stage.image_resource_id:
        return replace(stage, picture_size=sizes.get(stage.image_resource_id))
    return stage


def with_seeds(submission: Submission, draw: Callable[[], int]) -> Submission:
    """The submission with every open seed drawn, so that a second attempt makes the same picture."""
    if not any([isinstance(stage, InputInitialize) and stage.seed is None for stage in submission.stages]):
        return submission
    return replace(submission, stages=tuple(_with_seed(stage, draw) for stage in submission.stages))


def _with_seed(stage: Stage, draw: Callable[[], int]) -> Stage:
    if isinstance(stage, InputInitialize) and stage.seed is None:
        return replace(stage, seed=draw())
    return stage
