"""LoRAs in the weights of a checkpoint: put in for a request, and taken out to the bit for the next. It reads no file.

Merged and not beside the layers: a step takes as long as without, and a set that stays costs nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from gpu_worker.engine.lora_file import Change
from gpu_worker.engine.memory import is_out_of_memory
from gpu_worker.engine.residence import HOST
from jobs.block_weights import BlockWeights
from jobs.catalog import Model
from jobs.errors import FatalFailure

# Source: kohya-ss/sd-scripts, networks/lora_flux.py and networks/lora_sd3.py.
T5_OF_KOHYA = 3


@dataclass(frozen=True, slots=True)
class WeighedLora:
    """`blocks` None is 1 everywhere."""

    model: Model
    weight: float
    blocks: BlockWeights | None = None

    def strength(self, layer: str, place: Callable[[str], str]) -> float:
        return self.weight if self.blocks is None else self.weight * self.blocks.at(place(layer))


Read = Callable[[Model], Mapping[str, Change]]


class MergedLoras:
    """The LoRAs that the networks compute with now, and what the changed weights were before."""

    def __init__(self, denoiser: Any, text_encoders: Mapping[int, Any], place: Callable[[str], str]) -> None:
        """`place` says where a layer of kohya's name stands in block weights."""
        self._place = place
        self._layers = dict(_named_layers(denoiser, text_encoders))
        self._merged: tuple[WeighedLora, ...] = ()
        self._originals: dict[str, Tensor] = {}

    def set(self, loras: Sequence[WeighedLora], read: Read, *, is_short: bool = False) -> None:
        """These and no others from now on; `read` gives the changes of a model, by kohya's names of the layers.

        Where memory `is_short` the weights as they were go to the host's.
        Raises FatalFailure where one does not fit; then none is merged.
        """
        if tuple(loras) == self._merged:
            return
        self._clear()
        changes = self._fitting(loras, read)
        try:
            for layer, parts in changes.items():
                self._merge(layer, parts, is_short)
        except BaseException:
            self._clear()
            raise
        self._merged = tuple(loras)

    def set_aside(self) -> None:
        """The weights as they were leave the device."""
        self._originals = {layer: original.to(HOST) for layer, original in self._originals.items()}

    @property
    def size_bytes(self) -> int:
        return sum(original.nbytes for original in self._originals.values())

    def _fitting(self, loras: Sequence[WeighedLora], read: Read) -> dict[str, list[tuple[WeighedLora, Change]]]:
        changes: dict[str, list[tuple[WeighedLora, Change]]] = defaultdict(list)
        for lora in loras:
            layers = read(lora.model)
            self._check(lora.model, layers)
            for layer, change in layers.items():
                changes[layer].append((lora, change))
        return changes

    def _check(self, model: Model, layers: Mapping[str, Change]) -> None:
        if not layers:
            raise FatalFailure(f"LoRA {model.id}: {model.path} holds no layers")
        strange = [layer for layer in layers if layer not in self._layers]
        if strange:
            which = f"{len(strange)} of its {len(layers)} layers, such as {strange[0]}"
            raise FatalFailure(f"LoRA {model.id} was made for another checkpoint: this one lacks {which}")

    def _merge(self, layer: str, parts: Sequence[tuple[WeighedLora, Change]], is_short: bool) -> None:
        weight = self._layers[layer].weight
        merged = weight.float()
        for lora, change in parts:
            try:
                merged = merged + lora.strength(layer, self._place) * change.to(weight)
            except (ValueError, RuntimeError, KeyError) as error:
                if is_out_of_memory(error):
                    raise
                raise FatalFailure(f"LoRA {lora.model.id} does not fit the checkpoint at {layer}: {error}") from error
        self._originals[layer] = weight.to(HOST, copy=True) if is_short else weight.clone()
        weight.copy_(merged)

    def _clear(self) -> None:
        self._merged = ()
        # Backwards: a weight may have been changed twice, under two names.
        for layer, original in reversed(self._originals.items()):
            self._layers[layer].weight.copy_(original)
        self._originals = {}


def _named_layers(denoiser: Any, text_encoders: Mapping[int, Any]) -> Iterator[tuple[str, Any]]:
    """Every layer whose weight a LoRA may change, by all of kohya's names for it."""
    yield from _of_network("lora_unet", denoiser)
    for number, encoder in text_encoders.items():
        for prefix in (f"lora_te{number}", *(["lora_te"] if number == 1 else [])):
            yield from _of_network(prefix, encoder)
            # transformers 5 took this level out of CLIPTextModel; the files still name it.
            yield from _of_network(f"{prefix}_text_model", encoder)


def _of_network(prefix: str, network: Any) -> Iterator[tuple[str, Any]]:
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            yield f"{prefix}_{name.replace('.', '_')}", layer
