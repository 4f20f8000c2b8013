"""The schedules of noise that jobs may name beside a sampler. It knows no mathematics.

Source: the list of schedule types of AUTOMATIC1111's web UI.
"""

from enum import StrEnum

from jobs.errors import DarkroomError
from jobs.names import Names, folded
from jobs.samplers import Sampler


class Schedule(StrEnum):
    KARRAS = "karras"
    EXPONENTIAL = "exponential"
    BETA = "beta"
    UNIFORM = "uniform"
    SGM_UNIFORM = "sgm_uniform"
    SIMPLE = "simple"
    DDIM_UNIFORM = "ddim_uniform"

    @property
    def is_of_sigmas(self) -> bool:
        return self in (Schedule.KARRAS, Schedule.EXPONENTIAL, Schedule.BETA)


class UnknownSchedule(DarkroomError):
    """No schedule has this name, or the sampler cannot follow it."""


# Whose steps are those of the training, or some of them.
WITHOUT_SIGMAS = frozenset({Sampler.EULER_A, Sampler.DDIM, Sampler.PLMS})
# That have steps of their own, and no others.
WITHOUT_SCHEDULES = frozenset({Sampler.LCM, Sampler.DPM_FAST, Sampler.DPM_ADAPTIVE})


def canonical(name: str, sampler: Sampler) -> Schedule | None:
    """The schedule of this name, None for the sampler's own; case, spaces and underscores do not matter.

    Raises UnknownSchedule, also where the sampler has no such steps.
    """
    if folded(name) in ("", "automatic", "default"):
        return None
    schedule = _NAMES.find(name)
    if schedule is None:
        raise UnknownSchedule(f"no schedule is named {name!r}; {_NAMES.hint(name)}")
    if sampler in WITHOUT_SCHEDULES or (schedule.is_of_sigmas and sampler in WITHOUT_SIGMAS):
        raise UnknownSchedule(f"the sampler {sampler} cannot follow the schedule {schedule}")
    return schedule


_NAMES = Names({each.value: each for each in Schedule}, {"normal": Schedule.UNIFORM})
