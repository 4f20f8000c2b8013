"""What the messages of one body share while they become stages. It reads no field itself."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from jobs.catalog import Catalog, Family, Kind, Model, UnknownModel
from jobs.dialects.faults import Faults
from jobs.errors import DarkroomError
from jobs.samplers import Sampler, canonical, check_goes_with, default_of
from jobs.stages.diffusion import DEFAULT_SIDE_PX, Diffusion
from jobs.vaes import UnknownVae
from jobs.vaes import canonical as canonical_vae

T = TypeVar("T")


@dataclass(slots=True)
class Reading:
    """`diffusion` is the job's DIFFUSION stage once it was read, `initial_picture` the resource that INPUT_INITIALIZE
    names. Where a field is wrong a default stands in for it, and a fault sees to it that nothing comes of that."""

    catalog: Catalog
    faults: Faults
    diffusion: Diffusion | None = None
    initial_picture: str | None = None

    def model(self, name: str | None, path: str, field: str = "sdModel", access_key: str | None = None) -> Model:
        try:
            return self.catalog.resolve(Kind.CHECKPOINT, name or "", access_key or "")
        except UnknownModel as error:
            self.faults.add(f"{path}.{field}", error.message)
            return self.catalog.default

    def companion(
        self, kind: Kind, name: str | None, access_key: str | None, path: str, family: Family
    ) -> Model | None:
        """The model of this kind and name, if it goes with checkpoints of `family`."""
        if not name:
            self.faults.add(path, "is required")
            return None
        try:
            model = self.catalog.resolve(kind, name, access_key or "")
        except UnknownModel as error:
            self.faults.add(path, error.message)
            return None
        if model.family not in (family, Family.ANY):
            self.faults.add(path, f"{model.name} is for {model.family} checkpoints; the one named is {family}")
        return model

    def vae(self, name: str | None, path: str, family: Family) -> str | None:
        """Its catalogue id, None for the checkpoint's own. Published names may be misspelt as clients do."""
        try:
            published = canonical_vae(name or "")
        except UnknownVae:
            published = name or ""
        if published is None:
            return None
        model = self.companion(Kind.VAE, published, None, path, family)
        return model.id if model else None

    def family(self, diffusion: Diffusion) -> Family:
        return self.catalog.get(diffusion.model).family

    def sampler(self, name: str | None, path: str, family: Family, field: str = "sampler") -> Sampler:
        def known(name: str) -> Sampler:
            sampler = canonical(name, default)
            check_goes_with(sampler, family)
            return sampler

        default = default_of(family)
        return self.named(known, name or "", f"{path}.{field}", default)

    def named(self, canonical: Callable[[str], T], name: str, path: str, default: T) -> T:
        """What the name stands for in its closed set."""
        try:
            return canonical(name)
        except DarkroomError as error:
            self.faults.add(path, error.message)
            return default

    def required(self, value: str | None, path: str) -> str:
        if not value:
            self.faults.add(path, "is required")
        return value or ""

    def plain_diffusion(self) -> Diffusion:
        model = self.catalog.default
        sampler = default_of(model.family)
        return Diffusion(width=DEFAULT_SIDE_PX, height=DEFAULT_SIDE_PX, prompt=(), model=model.id, sampler=sampler)
