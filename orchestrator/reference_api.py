"""/openapi.json for programs and /docs for people: made once, from the table of operations."""

from importlib.metadata import version

import orjson
from aiohttp import web

from orchestrator.openapi import document
from orchestrator.operations import OPERATIONS
from orchestrator.reference_page import reference_page

ABOUT = (
    "Image generation as jobs: POST a job, watch its rank and its progress, get its pictures and a signed callback.\n\n"
    "Names may be camelCase or snake_case, integers numbers or strings of digits. Every error is a google.rpc.Status; "
    "a 400 tells all faults at once, each with its path."
)
# The page runs nothing and loads nothing.
PAGE_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}


class ReferenceApi:
    def __init__(self, public_url: str) -> None:
        told = document(OPERATIONS, title="Darkroom", version=version("darkroom"), server=public_url, about=ABOUT)
        self._document = orjson.dumps(told)
        self._page = reference_page(told)

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/openapi.json", self.openapi), web.get("/docs", self.docs), web.get("/", self.home)]

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.Response(body=self._document, content_type="application/json")

    async def home(self, _request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "docs"})

    async def docs(self, _request: web.Request) -> web.Response:
        return web.Response(text=self._page, content_type="text/html", headers=PAGE_HEADERS)
