"""A receiver of callbacks with a will of its own: it answers as the test says."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Receiver:
    """Answers with the next of `answers`, a status or what a fault does, then with 204.

    It hears on all of 127.0.0.0/8, so that one receiver can be many destinations.
    """

    port: int = 0
    answers: list[int | Answer] = field(default_factory=list)
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    is_over: asyncio.Event = field(default_factory=asyncio.Event)
    always: Answer | None = None
    """What answers when `answers` are used up."""
    silent: set[str] = field(default_factory=set)
    """Hosts that get no answer."""

    @property
    def url(self) -> str:
        return self.at("127.0.0.1")

    def at(self, host: str) -> str:
        return f"http://{host}:{self.port}/callback"

    async def receive(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append((headers, await request.read()))
        host = request.host.partition(":")[0]
        self.hosts.append(host)
        if host in self.silent:
            await self.is_over.wait()
        answer = self.answers.pop(0) if self.answers else self.always or 204
        if not isinstance(answer, int):
            return await answer(request)
        return web.Response(status=answer, headers={"Location": self.url} if answer in (301, 302, 307) else {})

    async def has_received(self, count: int) -> None:
        async with asyncio.timeout(15):
            while len(self.received) < count:
                await asyncio.sleep(0.005)


async def reset(request: web.Request) -> web.StreamResponse:
    """The connection breaks before any answer."""
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def garbage(request: web.Request) -> web.StreamResponse:
    """What comes back is not HTTP."""
    assert request.transport is not None
    request.transport.write(b"SSH-2.0-OpenSSH\r\n")
    request.transport.close()
    return web.Response()


def slow_head(seconds: float, status: int = 204) -> Answer:
    async def answer(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return web.Response(status=status)

    return answer


def slow_body(status: int, seconds: float) -> Answer:
    """The head at once, then a byte every so many seconds, without end."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        while True:
            await response.write(b"x")
            await asyncio.sleep(seconds)

    return answer


def huge_body(status: int, sent: list[int]) -> Answer:
    """A gigabyte; tells in `sent` how many bytes it got rid of."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(status=status)
        await response.prepare(request)
        for _ in range(1024):
            await response.write(b"x" * 2**20)
            sent.append(2**20)
        return response

    return answer


def says(status: int, text: str = "", **headers: str) -> Answer:
    """Like `says(429, Retry_After="120")`."""

    async def answer(_request: web.Request) -> web.StreamResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, text=text, headers=named)

    return answer


@asynccontextmanager
async def open_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.add_routes([web.post("/callback", receiver.receive)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    receiver.port = runner.addresses[0][1]
    yield receiver
    receiver.is_over.set()
    await runner.cleanup()
