"""What an account asks for: stages in order, and where to tell of them. It does not check or store."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from jobs.errors import Fault
from jobs.stages import Stage
from jobs.stages.input_initialize import InputInitialize


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    request_id: str
    stages: tuple[Stage, ...]
    notify_url: str | None = None
    running_notify_url: str | None = None


def order_faults(stage_types: list[str]) -> list[Fault]:
    """What is wrong with the order of these stages: one INPUT_INITIALIZE first, then one DIFFUSION."""
    faults = []
    if stage_types and stage_types[0] != "INPUT_INITIALIZE":
        faults.append(Fault("stages[0].type", "the first stage must be INPUT_INITIALIZE"))
    for kind in ("INPUT_INITIALIZE", "DIFFUSION"):
        again = [i for i, each in enumerate(stage_types) if each == kind][1:]
        faults += [Fault(f"stages[{i}].type", f"a job has one {kind} stage") for i in again]
    if "DIFFUSION" not in stage_types:
        faults.append(Fault("stages", "a job needs a DIFFUSION stage"))
    return faults


def with_seeds(submission: Submission, draw: Callable[[], int]) -> Submission:
    """The submission with every open seed drawn, so that a second attempt makes the same picture."""
    return replace(submission, stages=tuple(_with_seed(stage, draw) for stage in submission.stages))


def _with_seed(stage: Stage, draw: Callable[[], int]) -> Stage:
    if isinstance(stage, InputInitialize) and stage.seed is None:
        return replace(stage, seed=draw())
    return stage
