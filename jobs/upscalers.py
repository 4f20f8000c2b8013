"""The upscalers that jobs may name. It makes no picture larger.

Source: the list of constants of the TAMS API, as its published JavaScript client has it.
"""

from enum import StrEnum

from jobs.errors import DarkroomError
from jobs.names import Names


class Upscaler(StrEnum):
    """A way to more pixels: by latents, by interpolation, or by a network, whose name this is."""

    LATENT = "Latent"
    LATENT_ANTIALIASED = "Latent (antialiased)"
    LATENT_BICUBIC = "Latent (bicubic)"
    LATENT_BICUBIC_ANTIALIASED = "Latent (bicubic antialiased)"
    LATENT_NEAREST = "Latent (nearest)"
    LATENT_NEAREST_EXACT = "Latent (nearest-exact)"
    NONE = "None"
    LANCZOS = "Lanczos"
    NEAREST = "Nearest"
    ULTRASHARP_4X = "4x-UltraSharp"
    FOOLHARDY_REMACRI_4X = "4x_foolhardy_Remacri"
    ESRGAN_4X = "ESRGAN_4x"
    R_ESRGAN_4X = "R-ESRGAN 4x+"
    R_ESRGAN_4X_ANIME = "R-ESRGAN 4x+ Anime6B"
    NMKD_SIAX_4X = "4x_NMKD-Siax_200k"
    ANIMESHARP_4X = "4x-AnimeSharp"
    NMKD_SUPERSCALE_4X = "4x_NMKD-Superscale-SP_178000_G"
    SWINIR_4X = "SwinIR_4x"
    NMKD_SUPERSCALE_8X = "8x_NMKD-Superscale_150000_G"

    @property
    def is_latent(self) -> bool:
        return self.value.startswith("Latent")


class UnknownUpscaler(DarkroomError):
    """No upscaler has this name."""


def canonical(name: str) -> Upscaler:
    """The upscaler of this name; case, spaces and underscores do not matter. Raises UnknownUpscaler with a hint."""
    upscaler = _NAMES.find(name)
    if upscaler is None:
        raise UnknownUpscaler(f"no upscaler is named {name!r}; {_NAMES.hint(name)}")
    return upscaler


_NAMES = Names({upscaler.value: upscaler for upscaler in Upscaler})
