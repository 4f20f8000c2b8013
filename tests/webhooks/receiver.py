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
        answer = self.answers.pop(0) if self.answers else 204
        if not isinstance(answer, int):
            return await answer(request)
        return web.Response(status=answer, headers={"Location": self.url} if answer in (301, 302, 307) else {})

    async def has_received(self, count: int) -> None:
        async with asyncio.timeout(15):
            while len(self.received) < count:
                await asyncio.sleep(0.005)


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
