"""A load of requests over kept-alive connections. It is cheap on purpose, so that the server is what is measured."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

LAST_ANSWER_WITHIN_S = 30


@dataclass(frozen=True, slots=True)
class Load:
    """Answers per second and sorted latencies in ms."""

    per_second: float
    latencies_ms: list[float]

    def percentile(self, fraction: float) -> float:
        return self.latencies_ms[min(int(fraction * len(self.latencies_ms)), len(self.latencies_ms) - 1)]


class _Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last has come."""

    def __init__(self, request: Callable[[], bytes], until: float, latencies_ms: list[float]) -> None:
        self._request = request
        self._until = until
        self._latencies_ms = latencies_ms
        self._received = b""
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _content_length(head):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.ended.set_exception(RuntimeError(self._received.decode()))
            self._transport.close()
            return
        self._latencies_ms.append(1000 * (time.perf_counter() - self._sent))
        self._received = b""
        if time.perf_counter() < self._until:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request())


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError(f"an answer without a length: {head!r}")


async def load(port: int, request: Callable[[], bytes], *, connections: int, seconds: float) -> Load:
    """Raises RuntimeError for an answer that is not 200."""
    latencies_ms: list[float] = []
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    until = began + seconds
    opened = [
        await loop.create_connection(lambda: _Connection(request, until, latencies_ms), "127.0.0.1", port)
        for _ in range(connections)
    ]
    await asyncio.wait_for(asyncio.gather(*(protocol.ended for _, protocol in opened)), seconds + LAST_ANSWER_WITHIN_S)
    return Load(len(latencies_ms) / (time.perf_counter() - began), sorted(latencies_ms))
