"""POSTs over connections that are kept, and reads how an answer begins: what a callback needs of an HTTP client.

Connections, certificates and the reading of answers are aiohttp's, by its connector. Its session is left out: cookies,
redirects, proxies and hooks, which a callback must not have or does not use, take longer than all else done for one.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from webhooks.guard import GuardedResolver, Network, check_literal

NAMES_KEPT_S = 10
PLACES_REMEMBERED = 1024
HEADERS = {"User-Agent": "darkroom-webhooks", "Accept-Encoding": "identity", "Content-Type": "application/json"}
SWITCHING_PROTOCOLS, FIRST_FINAL = 101, 200


@dataclass(frozen=True, slots=True)
class Place:
    """Where to, and how each request to it begins."""

    request: aiohttp.ClientRequest
    head: bytes

    @property
    def path(self) -> str:
        return self.request.url.raw_path_qs

    @property
    def has_user(self) -> bool:
        return "Authorization" in self.request.headers


@dataclass(frozen=True, slots=True)
class Answer:
    """Its head. The connection is the reader's until `release`: it is kept if all of the body came, else closed."""

    status: int
    headers: Mapping[str, str]
    body: aiohttp.StreamReader
    connection: Connection

    def release(self) -> None:
        self.connection.release()


class Poster:
    """It reaches only what the guard lets it. A deadline for the answer is the caller's."""

    def __init__(self, connector: aiohttp.BaseConnector, allowed: Sequence[Network], *, connect_s: float) -> None:
        self._connector = connector
        self._allowed = allowed
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_s)
        # Callbacks go to the same places again and again. What is refused is looked at again, but not sent again.
        self.place = lru_cache(maxsize=PLACES_REMEMBERED)(self._place)

    def _place(self, address: str) -> Place:
        """Raises AddressRefused, or ValueError for what is no address of HTTP."""
        url = URL(address)
        check_literal(url.host or "", url.port or 0, self._allowed)
        request = aiohttp.ClientRequest("POST", url, headers=HEADERS, loop=asyncio.get_running_loop())
        del request.headers["Content-Length"]  # each has its own
        lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{name}: {value}" for name, value in request.headers.items())]
        return Place(request, "\r\n".join(lines).encode())

    async def post(self, place: Place, headers: Mapping[str, str], body: bytes) -> Answer:
        """Raises aiohttp.ClientError, OSError and AddressRefused."""
        lines = "".join([f"\r\n{name}: {value}" for name, value in headers.items()])
        connection = await self._connector.connect(place.request, [], self._timeout)
        try:
            protocol, transport = connection.protocol, connection.transport
            assert protocol is not None and transport is not None  # as they are until it is released
            protocol.set_response_params(read_until_eof=True, auto_decompress=False)
            transport.write(b"%b%b\r\nContent-Length: %d\r\n\r\n%b" % (place.head, lines.encode(), len(body), body))
            message, content = await protocol.read()
            while message.code < FIRST_FINAL and message.code != SWITCHING_PROTOCOLS:
                message, content = await protocol.read()
        except HttpProcessingError as error:
            connection.close()
            raise aiohttp.ClientResponseError(
                place.request.request_info, (), status=error.code, message=error.message
            ) from error
        except BaseException:
            connection.close()
            raise
        return Answer(message.code, message.headers, content, connection)


@asynccontextmanager
async def open_poster(allowed: Sequence[Network], *, connections: int, connect_s: float) -> AsyncIterator[Poster]:
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(allowed, names_at_once=connections), limit=connections, ttl_dns_cache=NAMES_KEPT_S
    )
    async with connector:
        yield Poster(connector, allowed, connect_s=connect_s)
