"""Pictures in and out: the upload address, the signed PUT, and signed GETs of outputs and previews."""

import hashlib
from datetime import timedelta
from uuid import UUID

from aiohttp import web
from pydantic import Field, ValidationError

from jobs.dialects.protobuf_json import Integer, Message, faults_of
from jobs.errors import InvalidSubmission, NotFound, TooLarge
from jobs.job import Image
from jobs.links import Links
from jobs.storage.files import Files
from jobs.storage.progress_board import ProgressBoard
from jobs.storage.resource_store import ResourceStore
from orchestrator.authentication import Authentication
from orchestrator.json_http import json_response, read_json
from orchestrator.uploaded_picture import read_picture

SHORT_TERM = timedelta(days=7)
DEFAULT_LINK_LIFETIME = timedelta(hours=1)
MAX_LINK_LIFETIME = timedelta(days=7)
PREVIEW_TYPE = "image/jpeg"


class UploadBody(Message):
    """`term` 1 keeps the picture for 7 days, 2 for ever; `expire_sec` is how long the PUT address works."""

    expire_sec: Integer = Field(default=0, ge=0, le=int(MAX_LINK_LIFETIME.total_seconds()))
    term: Integer = Field(default=1, ge=0, le=2)


class ResourcesApi:
    def __init__(
        self,
        *,
        authentication: Authentication,
        resources: ResourceStore,
        board: ProgressBoard,
        files: Files,
        links: Links,
        max_upload_bytes: int,
        max_upload_pixels: int,
    ) -> None:
        self._authentication = authentication
        self._resources = resources
        self._board = board
        self._files = files
        self._links = links
        self._max_upload_bytes = max_upload_bytes
        self._max_upload_pixels = max_upload_pixels

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/resource/image", self.create),
            web.put("/v1/resource/image/{id}", self.upload),
            web.get("/v1/images/{id}", self.image, allow_head=False),
            web.get("/v1/previews/{name}", self.preview, allow_head=False),
        ]

    async def create(self, request: web.Request) -> web.Response:
        account_id = await self._authentication.account_of(request)
        asked = await _upload_body(request)
        lifetime = None if asked.term == 2 else SHORT_TERM
        resource_id = await self._resources.add_upload(account_id, lifetime)
        link_lifetime = timedelta(seconds=asked.expire_sec) or DEFAULT_LINK_LIFETIME
        put_url = self._links.sign("PUT", f"/v1/resource/image/{resource_id}", link_lifetime)
        headers = {"Content-Type": "application/octet-stream"}
        return json_response({"resourceId": str(resource_id), "putUrl": put_url, "headers": headers})

    async def upload(self, request: web.Request) -> web.Response:
        self._check_link(request)
        resource_id = _uuid(request.match_info["id"])
        content = await _read_bounded(request, self._max_upload_bytes)
        picture = await read_picture(content, max_pixels=self._max_upload_pixels)
        # The content is in the key: a repeat of the upload changes nothing, and another picture is refused, because
        # accepted jobs may begin from the first.
        key = f"uploads/{resource_id}/{hashlib.sha256(picture.png).hexdigest()[:16]}.png"
        await self._files.put(key, picture.png)
        image = Image(id=resource_id, key=key, format="png", width=picture.width, height=picture.height)
        await self._resources.store_upload(image)
        return json_response({"Status": "OK"})

    async def image(self, request: web.Request) -> web.Response:
        self._check_link(request)
        image = await self._resources.get_any(_uuid(request.match_info["id"]))
        return _picture(await self._files.get(image.key), f"image/{image.format}")

    async def preview(self, request: web.Request) -> web.Response:
        self._check_link(request)
        content = await self._board.preview(request.match_info["name"])
        if content is None:
            raise NotFound("This preview is no longer kept; ask for the job again.")
        return _picture(content, PREVIEW_TYPE)

    def _check_link(self, request: web.Request) -> None:
        query = request.query
        self._links.check(request.method, request.path, query.get("expires", ""), query.get("signature", ""))


def _picture(content: bytes, content_type: str) -> web.Response:
    # What a link shows never changes. Clients may keep it, shared caches must not.
    headers = {"Cache-Control": "private, max-age=86400, immutable", "X-Content-Type-Options": "nosniff"}
    return web.Response(body=content, content_type=content_type, headers=headers)


async def _upload_body(request: web.Request) -> UploadBody:
    value = await read_json(request) if request.can_read_body else {}
    try:
        return UploadBody.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission(faults_of(error)) from error


async def _read_bounded(request: web.Request, limit: int) -> bytes:
    content = bytearray()
    async for chunk in request.content.iter_chunked(2**16):
        content += chunk
        if len(content) > limit:
            raise TooLarge(f"The picture is over {limit} bytes.")
    return bytes(content)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no resource {text!r}.") from error
