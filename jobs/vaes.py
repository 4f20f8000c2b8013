"""The published names of VAEs that jobs may name in place of a checkpoint's own. The catalogue has the VAEs.

Source: the list of constants of the TAMS API, as its published JavaScript client has it.
"""

from jobs.errors import DarkroomError
from jobs.names import Names

PUBLISHED = (
    "vae-ft-mse-840000-ema-pruned.ckpt",
    "kl-f8-anime.ckpt",
    "kl-f8-anime2.ckpt",
    "YOZORA.vae.pt",
    "orangemix.vae.pt",
    "blessed2.vae.pt",
    "animevae.pt",
    "ClearVAE.safetensors",
    "pastel-waifu-diffusion.vae.pt",
)

# What a job may say in place of one: the checkpoint's own.
OWN = ("Automatic", "None")

# As a published Python client writes them.
MISSPELT = {
    "clearvae.safetensor": "ClearVAE.safetensors",
    "paster-waifu-diffusion.vae.pt": "pastel-waifu-diffusion.vae.pt",
}


class UnknownVae(DarkroomError):
    """No VAE has this name."""


def canonical(name: str) -> str | None:
    """The VAE of this name, None for the checkpoint's own; case does not matter. Raises UnknownVae with a hint."""
    if not name or name.casefold() in _OWN:
        return None
    vae = _NAMES.find(name)
    if vae is None:
        raise UnknownVae(f"no VAE is named {name!r}; {_NAMES.hint(name)}")
    return vae


_OWN = frozenset(map(str.casefold, OWN))
_NAMES = Names({name: name for name in PUBLISHED}, MISSPELT)
