"""Pictures out: outputs and previews, by signed links."""

from uuid import UUID

from aiohttp import web

from jobs.errors import NotFound
from jobs.links import Links
from jobs.storage.files import Files
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.resource_store import ResourceStore
from orchestrator.file_response import stream_file

PREVIEW_TYPE = "image/jpeg"
# What a link shows never changes. Clients may keep it, shared caches must not.
HEADERS = {"Cache-Control": "private, max-age=86400, immutable", "X-Content-Type-Options": "nosniff"}


class PicturesApi:
    def __init__(self, *, resources: ResourceStore, board: ProgressBoard, files: Files, links: Links) -> None:
        self._resources = resources
        self._board = board
        self._files = files
        self._links = links

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/images/{id}", self.image), web.get("/v1/previews/{name}", self.preview)]

    async def image(self, request: web.Request) -> web.StreamResponse:
        check_link(self._links, request)
        image = await self._resources.get_any(resource_id_of(request))
        return await stream_file(request, self._files, image.key, {**HEADERS, "Content-Type": f"image/{image.format}"})

    async def preview(self, request: web.Request) -> web.Response:
        check_link(self._links, request)
        content = await self._board.preview(request.match_info["name"])
        if content is None:
            raise NotFound("This preview is no longer kept; ask for the job again.")
        return web.Response(body=content, content_type=PREVIEW_TYPE, headers=HEADERS)


def check_link(links: Links, request: web.Request) -> None:
    """Raises LinkRefused."""
    method = "GET" if request.method == "HEAD" else request.method
    links.check(method, request.path, request.query.get("expires", ""), request.query.get("signature", ""))


def resource_id_of(request: web.Request) -> UUID:
    text = request.match_info["id"]
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no resource {text[:40]!r}.") from error
