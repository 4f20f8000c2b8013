"""The schedules of noise that jobs may name beside a sampler. It knows no mathematics.

Source: the list of schedule types of AUTOMATIC1111's web UI.
"""

from enum import StrEnum

from jobs.catalog import Family
from jobs.errors import DarkroomError
from jobs.names import Names, folded
from jobs.samplers import FLOW_FAMILIES, Sampler


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


# Of those that draw with SD 3 and FLUX, the ones that can be told the noise levels; of these, the one none is told.
FLOW_FOLLOWERS = frozenset({Sampler.EULER, Sampler.EULER_KARRAS, Sampler.LCM})
NOT_OF_FLOW = Schedule.DDIM_UNIFORM


def canonical(name: str, sampler: Sampler, family: Family) -> Schedule | None:
    """The schedule of this name, None for the sampler's own; case, spaces and underscores do not matter.

    Raises UnknownSchedule, also where the sampler has no such steps with models of this family.
    """
    if folded(name) in ("", "automatic", "default"):
        return None
    schedule = _NAMES.find(name)
    if schedule is None:
        raise UnknownSchedule(f"no schedule is named {name!r}; {_NAMES.hint(name)}")
    if family in FLOW_FAMILIES:
        check_goes_with_flow(schedule, sampler)
    elif sampler in WITHOUT_SCHEDULES or (schedule.is_of_sigmas and sampler in WITHOUT_SIGMAS):
        raise UnknownSchedule(f"the sampler {sampler} cannot follow the schedule {schedule}")
    return schedule


def check_goes_with_flow(schedule: Schedule, sampler: Sampler) -> None:
    """Raises UnknownSchedule where the sampler cannot follow it on a straight way from noise to picture."""
    if sampler not in FLOW_FOLLOWERS or schedule is NOT_OF_FLOW:
        raise UnknownSchedule(f"with SD3 and FLUX the sampler {sampler} cannot follow the schedule {schedule}")


_NAMES = Names({each.value: each for each in Schedule}, {"normal": Schedule.UNIFORM})
