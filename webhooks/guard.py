"""Which addresses a callback may reach. Names are resolved once, and the address that was checked is the one used."""

import ipaddress
import socket
from collections.abc import Sequence
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from jobs.errors import DarkroomError

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class AddressRefused(DarkroomError):
    """The callback's address is not public."""


class GuardedResolver(AbstractResolver):
    """Gives only addresses that are public or in `allowed`; raises AddressRefused where none is."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._inner.resolve(host, port, family)
        reachable = [each for each in found if is_allowed(each["host"], self._allowed)]
        if not reachable:
            raise AddressRefused(f"{host} has no public address")
        return reachable

    async def close(self) -> None:
        await self._inner.close()


def check_literal(url: str, allowed: Sequence[Network]) -> None:
    """Raises AddressRefused for a URL that names a forbidden address itself: no resolver sees that one."""
    host = URL(url).host or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return
    if not is_allowed(host, allowed):
        raise AddressRefused(f"{host} is not a public address")


def is_allowed(host: str, allowed: Sequence[Network]) -> bool:
    address = ipaddress.ip_address(host)
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    return (address.is_global and not address.is_multicast) or any(address in network for network in allowed)


def networks(texts: Sequence[str]) -> list[Network]:
    """Raises ValueError for what is no network."""
    return [ipaddress.ip_network(text) for text in texts]
