"""The architectures, by the family that has them."""

from collections.abc import Mapping

from gpu_worker.engine.architectures.architecture import Architecture
from gpu_worker.engine.architectures.flux import Flux
from gpu_worker.engine.architectures.stable_diffusion import StableDiffusion, StableDiffusionXL
from gpu_worker.engine.architectures.stable_diffusion_3 import StableDiffusion3
from jobs.catalog import Family

ARCHITECTURES: Mapping[Family, Architecture] = {
    Family.SD15: StableDiffusion(),
    Family.SD2: StableDiffusion(),
    Family.SDXL: StableDiffusionXL(),
    Family.SD3: StableDiffusion3(),
    Family.FLUX: Flux(),
}
