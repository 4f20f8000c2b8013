"""Which addresses a callback may reach. Names are resolved once, and the address that was checked is the one used."""

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from aiohttp.abc import AbstractResolver, ResolveResult

from jobs.errors import DarkroomError

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

# Deprecated and reserved ranges that some versions of Python count as global.
# Source: IANA's registries of special-purpose addresses.
NOT_PUBLIC = (
    ipaddress.IPv4Network("192.0.0.0/24"),
    ipaddress.IPv4Network("192.88.99.0/24"),
    ipaddress.IPv6Network("3fff::/20"),
    ipaddress.IPv6Network("64:ff9b:1::/48"),
    ipaddress.IPv6Network("fec0::/10"),
)
IPV4_IN_THE_LAST_BITS = (ipaddress.IPv6Network("::/96"), ipaddress.IPv6Network("64:ff9b::/96"))


# Of the system's own services: mail, shells and the like, which a request must not be smuggled to.
FIRST_FREE_PORT = 1024
WEB_PORTS = (80, 443)


class AddressRefused(DarkroomError):
    """The callback's address is not public."""


class GuardedResolver(AbstractResolver):
    """Gives only addresses that are public or in `allowed`; raises AddressRefused where none is.

    It has threads of its own, one for each of `names_at_once`: the event loop has a few, and names that nobody answers
    for would keep all others waiting.
    """

    def __init__(self, allowed: Sequence[Network], *, names_at_once: int) -> None:
        self._allowed = allowed
        self._threads = ThreadPoolExecutor(names_at_once, thread_name_prefix="names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port, family)
        reachable = [each for each in found if is_allowed(each["host"], self._allowed, port)]
        if not reachable:
            raise AddressRefused(f"{host} has no public address that may be called at port {port}")
        return reachable

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
    found = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=family,
            proto=protocol,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for family, _type, protocol, _name, address in found
    ]


def check_literal(host: str, port: int, allowed: Sequence[Network]) -> None:
    """Raises AddressRefused for a host that is a forbidden address itself: no resolver sees that one.

    aiohttp takes any host of digits and dots, or with a colon, for an address, and the system then reads `127.1` or
    `2130706433` as 127.0.0.1. So only the usual form is let through.
    """
    if ":" not in host and not host.replace(".", "").isdigit():
        return
    try:
        may_reach = is_allowed(host, allowed, port)
    except ValueError as error:
        raise AddressRefused(f"{host} is not an address in its usual form") from error
    if not may_reach:
        raise AddressRefused(f"{host} is not a public address that may be called at port {port}")


def is_allowed(host: str, allowed: Sequence[Network], port: int = WEB_PORTS[0]) -> bool:
    """Raises ValueError for what is no address. What the operator allows, is allowed with all its ports."""
    address = _without_wrapping(ipaddress.ip_address(host))
    if any(address in network for network in allowed):
        return True
    return _is_public(address) and (port in WEB_PORTS or port >= FIRST_FREE_PORT)


def _is_public(address: Address) -> bool:
    if address.is_multicast or address.is_reserved or any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global


def _without_wrapping(address: Address) -> Address:
    """The IPv4 address that a gateway would take an IPv6 address for, or the address itself.

    Source: RFC 4291 section 2.5.5 (mapped and compatible), RFC 3056 (6to4), RFC 6052 (NAT64), RFC 5214 (ISATAP).
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    is_isatap = int(address) >> 32 & 0xFDFF_FFFF == 0x5EFE
    if is_isatap or (any(address in network for network in IPV4_IN_THE_LAST_BITS) and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def networks(texts: Sequence[str]) -> list[Network]:
    """Raises ValueError for what is no network."""
    return [ipaddress.ip_network(text) for text in texts]
