"""Which networks are on the device. Those of a model that does not fit are there only while they run.

It has moved none on CUDA in its tests: there another place plays the device.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any
from weakref import WeakSet

import torch

HOST = torch.device("cpu")


def move(network: Any, place: torch.device) -> None:
    """Within inference mode, as all else: its weights may have been made in it, and could not be moved out of it."""
    network.to(place)


class Residence:
    """Networks that it was never told of are where they were loaded to.

    What is away comes back for whoever needs it, whichever model it was sent away for: VAEs and ControlNets are shared.
    """

    def __init__(self, device: torch.device, move: Callable[[Any, torch.device], None] = move) -> None:
        self._device = device
        self._move = move
        self._known: WeakSet[Any] = WeakSet()
        self._away: WeakSet[Any] = WeakSet()
        self._apart: WeakSet[Any] = WeakSet()

    @property
    def can_part(self) -> bool:
        """Whether there is another place than the device."""
        return self._device != HOST

    def is_apart(self, network: Any) -> bool:
        return network in self._apart

    def part(self, networks: Iterable[Any]) -> None:
        """From now on they are on the device only while they run; none is until `bring`."""
        for network in networks:
            self._apart.add(network)
            self._send(network)

    def bring(self, networks: Collection[Any], *, alone: bool) -> None:
        """Puts these on the device; `alone`, all others leave it first."""
        if alone:
            for other in [each for each in self._known if each not in networks]:
                self._send(other)
        for network in networks:
            self._known.add(network)
            if network in self._away:
                self._fetch(network)

    def clear(self) -> None:
        """Something else runs now: those that are there only while they run leave."""
        for network in self._apart:
            self._send(network)

    def _fetch(self, network: Any) -> None:
        try:
            self._move(network, self._device)
        except BaseException:
            # No part of it shall stay, where there was no place for all.
            self._move(network, HOST)
            raise
        self._away.discard(network)

    def _send(self, network: Any) -> None:
        self._known.add(network)
        if network not in self._away:
            self._away.add(network)
            self._move(network, HOST)
