"""The samplers that jobs may name. It knows no mathematics: the engine maps each name to a scheduler."""

from enum import StrEnum

from jobs.catalog import Family
from jobs.errors import DarkroomError
from jobs.names import Names, folded, quoted


class Sampler(StrEnum):
    """A way from noise to picture, by the name that AUTOMATIC1111's web UI gave it."""

    EULER_A = "Euler a"
    EULER = "Euler"
    EULER_KARRAS = "Euler Karras"
    HEUN = "Heun"
    LMS = "LMS"
    LMS_KARRAS = "LMS Karras"
    DPM2 = "DPM2"
    DPM2_KARRAS = "DPM2 Karras"
    DPM2_A = "DPM2 a"
    DPM2_A_KARRAS = "DPM2 a Karras"
    DPMPP_2S_A = "DPM++ 2S a"
    DPMPP_2S_A_KARRAS = "DPM++ 2S a Karras"
    DPMPP_2M = "DPM++ 2M"
    DPMPP_2M_KARRAS = "DPM++ 2M Karras"
    DPMPP_SDE = "DPM++ SDE"
    DPMPP_SDE_KARRAS = "DPM++ SDE Karras"
    DPMPP_2M_SDE = "DPM++ 2M SDE"
    DPMPP_2M_SDE_KARRAS = "DPM++ 2M SDE Karras"
    DPMPP_3M_SDE = "DPM++ 3M SDE"
    DPMPP_3M_SDE_KARRAS = "DPM++ 3M SDE Karras"
    DPM_FAST = "DPM fast"
    DPM_ADAPTIVE = "DPM adaptive"
    DDIM = "DDIM"
    PLMS = "PLMS"
    UNIPC = "UniPC"
    LCM = "LCM"


# That take as many calls of the denoiser as a picture needs, whatever its steps.
ADAPTIVE = frozenset({Sampler.DPM_ADAPTIVE})
DEFAULT = Sampler.DPMPP_2M_KARRAS

# Of models that learned a straight way from noise to picture, and those samplers that can go it.
FLOW_FAMILIES = frozenset({Family.SD3, Family.FLUX})
FLOW_SAMPLERS = (
    Sampler.EULER,
    Sampler.EULER_KARRAS,
    Sampler.HEUN,
    Sampler.DPMPP_2M,
    Sampler.DPMPP_2M_SDE,
    Sampler.UNIPC,
    Sampler.LCM,
)
DEFAULT_OF_FLOW = Sampler.EULER

# Fewer than the API allows: LCM was distilled on 50 timesteps, and has no others.
MAX_STEPS = {Sampler.LCM: 50}


class UnknownSampler(DarkroomError):
    """No sampler has this name, or it does not go with the model."""


def default_of(family: Family) -> Sampler:
    return DEFAULT_OF_FLOW if family in FLOW_FAMILIES else DEFAULT


def check_goes_with(sampler: Sampler, family: Family) -> None:
    """Raises UnknownSampler where models of this family cannot be drawn with it."""
    if family in FLOW_FAMILIES:
        check_goes_with_flow(sampler)


def check_goes_with_flow(sampler: Sampler) -> None:
    if sampler not in FLOW_SAMPLERS:
        reason = "works with noise as Stable Diffusion 1.5, 2 and XL know it"
        raise UnknownSampler(f"the sampler {sampler} {reason}; with SD3 and FLUX go {quoted(FLOW_SAMPLERS)}")


def canonical(name: str, default: Sampler = DEFAULT) -> Sampler:
    """The sampler of this name; case, spaces and underscores do not matter. The default for an empty name.

    Raises UnknownSampler, which suggests the nearest names.
    """
    sampler = _NAMES.find(name) if name else default
    if sampler is not None:
        return sampler
    if not folded(name):
        return default
    raise UnknownSampler(f"no sampler is named {name!r}; {_NAMES.hint(name)}")


_NAMES = Names({sampler.value: sampler for sampler in Sampler})
