"""A POST over a connection that is kept, against a server that writes bytes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from webhooks.guard import AddressRefused, networks
from webhooks.posting import Answer, Poster, open_poster

EMPTY = b"HTTP/1.1 204 No Content\r\n\r\n"


class Server:
    """Answers with these bytes, in turns; keeps what it was sent by each connection."""

    def __init__(self) -> None:
        self.answers = [EMPTY]
        self.heard: list[list[bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(requests := [])
        with suppress(asyncio.IncompleteReadError, OSError):  # the connection was closed
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
                requests.append(head + await reader.readexactly(length))
                writer.write(self.answers.pop(0) if self.answers else EMPTY)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    listening = await asyncio.start_server(server.serve, "127.0.0.1")
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    yield server
    listening.close()


@pytest.fixture
async def poster() -> AsyncIterator[Poster]:
    async with open_poster(networks(["127.0.0.0/8"]), connections=4, connect_s=5) as poster:
        yield poster


async def post(poster: Poster, url: str, body: bytes = b"{}") -> Answer:
    async with asyncio.timeout(5):
        answer = await poster.post(poster.place(url), {"webhook-id": "msg_1"}, body)
        answer.release()
        return answer


async def test_a_request_is_written_as_http_has_it(server: Server, poster: Poster) -> None:
    await post(poster, f"{server.url.replace('//', '//user:pass%20word@')}/a b?c=\r\nx: y#d", b'{"job":1}')

    ((request,),) = server.heard
    head, _, body = request.partition(b"\r\n\r\n")
    start, *headers = head.decode().split("\r\n")
    assert start == "POST /a%20b?c=x:+y HTTP/1.1" and body == b'{"job":1}'
    assert dict(each.split(": ") for each in headers) == {
        "Host": server.url.removeprefix("http://"),
        "User-Agent": "darkroom-webhooks",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        "Content-Length": "9",
        "Authorization": "Basic dXNlcjpwYXNzIHdvcmQ=",
        "webhook-id": "msg_1",
    }


async def test_a_connection_is_kept_for_the_next_request(server: Server, poster: Poster) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", EMPTY]

    statuses = [(await post(poster, server.url)).status for _ in range(3)]

    assert statuses == [200, 204, 204] and [len(requests) for requests in server.heard] == [3]


async def test_a_connection_whose_answer_was_not_read_to_its_end_is_not_kept(server: Server, poster: Poster) -> None:
    server.answers = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1"]

    statuses = [(await post(poster, server.url)).status for _ in range(2)]

    assert statuses == [200, 204] and len(server.heard) == 2


async def test_what_comes_before_the_answer_is_not_the_answer(server: Server, poster: Poster) -> None:
    server.answers = [b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + EMPTY]

    assert (await post(poster, server.url)).status == 204


async def test_a_place_that_is_refused_is_looked_at_each_time(poster: Poster) -> None:
    for _ in range(2):
        with pytest.raises(AddressRefused):
            poster.place("http://10.0.0.1/")
    with pytest.raises(ValueError):
        poster.place("http:///nowhere")
