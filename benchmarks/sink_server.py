"""A receiver of callbacks that is cheap on purpose: it answers 204 to every request, and nothing to some hosts."""

import asyncio
import os
from typing import cast

import uvloop

ANSWER = b"HTTP/1.1 204 No Content\r\n\r\n"
SILENT = b"host: 127.0.2."


class Sink(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator or len(rest) < _content_length(head):
            return
        self._received = b""
        if SILENT not in head.lower():
            self._transport.write(ANSWER)


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n")[0] or 0)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "0.0.0.0", int(os.environ["PORT"]), backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve())
