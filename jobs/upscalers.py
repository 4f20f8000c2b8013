"""The upscalers that jobs may name. It makes no picture larger.

Source: the list of constants of the TAMS API, as its published JavaScript client has it.
"""

from enum import StrEnum

from jobs.catalog import Catalog, Kind, UnknownModel
from jobs.errors import DarkroomError
from jobs.names import Names, hint, there_are


class Upscaler(StrEnum):
    """A way to more pixels that needs no network: by latents, or by interpolation. None is Lanczos, as in A1111."""

    LATENT = "Latent"
    LATENT_ANTIALIASED = "Latent (antialiased)"
    LATENT_BICUBIC = "Latent (bicubic)"
    LATENT_BICUBIC_ANTIALIASED = "Latent (bicubic antialiased)"
    LATENT_NEAREST = "Latent (nearest)"
    LATENT_NEAREST_EXACT = "Latent (nearest-exact)"
    NONE = "None"
    LANCZOS = "Lanczos"
    NEAREST = "Nearest"


# Networks, which an operator adds to the catalogue by these names or any other.
PUBLISHED = (
    "4x-UltraSharp",
    "4x_foolhardy_Remacri",
    "ESRGAN_4x",
    "R-ESRGAN 4x+",
    "R-ESRGAN 4x+ Anime6B",
    "4x_NMKD-Siax_200k",
    "4x-AnimeSharp",
    "4x_NMKD-Superscale-SP_178000_G",
    "SwinIR_4x",
    "8x_NMKD-Superscale_150000_G",
)


class UnknownUpscaler(DarkroomError):
    """No upscaler has this name."""


def resolve(name: str, catalog: Catalog) -> str:
    """The value of an `Upscaler`, or the catalogue id of a network. Case, spaces and underscores of those names that
    the API publishes do not matter.

    Raises UnknownUpscaler, with what is missing or the nearest names.
    """
    way = _WAYS.find(name)
    if way is not None:
        return way.value
    published = _PUBLISHED.find(name)
    try:
        return catalog.resolve(Kind.UPSCALER, published or name).id
    except UnknownModel as error:
        here, others = catalog.names(Kind.UPSCALER)
        known = (*here, *Upscaler)
        if published:
            reason = f"the network {published!r} is not in this server's catalogue"
            raise UnknownUpscaler(f"{reason}; {_added(published)}; {there_are(known)}") from error
        raise UnknownUpscaler(f"no upscaler is named {name!r}; {hint(name, known, others)}") from error


def _added(published: str) -> str:
    """How an operator adds it. Workers know ESRGAN's networks without a package."""
    needs = ", for workers with darkroom[upscalers]" if published.startswith("SwinIR") else ""
    return f"`darkroom models add FILE.safetensors --kind UPSCALER --name '{published}'` adds it{needs}"


def is_latent(upscaler: str) -> bool:
    """Whether it works on latents."""
    return upscaler.startswith("Latent")


_WAYS = Names({upscaler.value: upscaler for upscaler in Upscaler})
_PUBLISHED = Names({name: name for name in PUBLISHED})
