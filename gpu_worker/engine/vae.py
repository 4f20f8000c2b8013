"""VAEs that take the place of a checkpoint's own. It encodes nothing."""

from dataclasses import dataclass, replace
from typing import Any

from diffusers import AutoencoderKL

from gpu_worker.engine.checkpoint import Checkpoint, latent_space_of, ready_vae
from gpu_worker.engine.device import Device
from gpu_worker.engine.network import open_network
from jobs.catalog import Family, Model
from jobs.errors import FatalFailure


@dataclass(frozen=True, slots=True)
class LoadedVae:
    model: Model
    network: Any

    @property
    def size_bytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.network.parameters())


def load_vae(model: Model, device: Device) -> LoadedVae:
    """Raises FatalFailure, naming the model and the file, if it is missing or damaged."""
    return LoadedVae(model, ready_vae(open_network(model, AutoencoderKL, device.dtype), device))


def with_vae(checkpoint: Checkpoint, vae: LoadedVae) -> Checkpoint:
    """The checkpoint with this VAE. Raises FatalFailure where it is of another family, or speaks of other latents."""
    if vae.model.family not in (checkpoint.family, Family.ANY):
        # Of the same form, but every number of a latent means something else.
        raise FatalFailure(f"VAE {vae.model.id} is for {vae.model.family} checkpoints, not for {checkpoint.family}")
    space, own = latent_space_of(vae.network.config), checkpoint.latent_space
    if (space.channels, space.factor) != (own.channels, own.factor):
        theirs, ours = (f"{each.channels} channels, {each.factor} pixels to one" for each in (space, own))
        raise FatalFailure(f"VAE {vae.model.id} was made for another checkpoint: its latents have {theirs}, not {ours}")
    return replace(checkpoint, vae=vae.network, latent_space=space)
