"""Pictures in: addresses and forms to upload by, and what is sent there."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from uuid import UUID

from aiohttp import web

from jobs.account import Scope
from jobs.dialects.faults import Faults
from jobs.dialects.protobuf_json import Message, Whole
from jobs.dialects.tams_answers import UploadAnswer, UploadFormAnswer
from jobs.errors import Fault, InvalidSubmission, Unavailable
from jobs.job import Image
from jobs.links import Links
from jobs.names import quoted
from jobs.storage.files import Files, upload_folder
from jobs.storage.resource_store import ResourceStore
from jobs.upload_form import UploadForms
from orchestrator.authentication import Authentication
from orchestrator.form_body import FILE, read_bounded, read_form
from orchestrator.json_http import json_response, read_body, read_json
from orchestrator.packed_body import unpacked
from orchestrator.picture_reader import PictureReader
from orchestrator.pictures_api import check_link, resource_id_of
from orchestrator.uploaded_picture import refusal

PUT_PATH = "/v1/resource/image/{id}"
FORM_PATH = "/v1/resource/upload"
METHODS = {PUT_PATH: "PUT", FORM_PATH: "POST"}
SHORT_TERM = timedelta(days=7)
DEFAULT_LINK_LIFETIME = timedelta(hours=1)
MAX_LINK_LIFETIME = timedelta(days=7)
ARRIVES_WITHIN = timedelta(minutes=5)
# A picture that begins to arrive in the last second of its link is still taken.
STORED_WITHIN = 2 * ARRIVES_WITHIN
# Each holds its picture in memory until it is stored.
MAX_AT_ONCE = 32
ANSWERED = {"Status": "OK"}
STATUSES = ("200", "201", "204")


class UploadBody(Message):
    """`term` 1 keeps the picture for 7 days, 2 for ever; `expire_sec` is how long the address or form works."""

    expire_sec: Annotated[int | None, Whole(0, int(MAX_LINK_LIFETIME.total_seconds()))] = None
    term: Annotated[int | None, Whole(1, 2)] = None

    @property
    def link_lifetime(self) -> timedelta:
        return timedelta(seconds=self.expire_sec or 0) or DEFAULT_LINK_LIFETIME


@dataclass(frozen=True, slots=True)
class AdmittedForm:
    resource_id: UUID
    status: int


class ResourcesApi:
    def __init__(
        self,
        *,
        authentication: Authentication,
        resources: ResourceStore,
        files: Files,
        links: Links,
        forms: UploadForms,
        reader: PictureReader,
        max_upload_bytes: int,
    ) -> None:
        self._authentication = authentication
        self._resources = resources
        self._files = files
        self._links = links
        self._forms = forms
        self._reader = reader
        self._max_upload_bytes = max_upload_bytes
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/resource/image", self.create),
            web.post("/v1/resource/image/sts", self.create_form),
            web.put(PUT_PATH, self.upload),
            web.post(FORM_PATH, self.upload_form),
        ]

    async def create(self, request: web.Request) -> web.Response:
        resource_id, asked = await self._new_resource(request)
        put_url = self._links.sign("PUT", PUT_PATH.format(id=resource_id), asked.link_lifetime)
        headers = {"Content-Type": "application/octet-stream"}
        return json_response(UploadAnswer(resourceId=str(resource_id), putUrl=put_url, headers=headers))

    async def create_form(self, request: web.Request) -> web.Response:
        resource_id, asked = await self._new_resource(request)
        form = self._forms.sign(resource_id, asked.link_lifetime)
        body: UploadFormAnswer = {
            "resourceId": str(resource_id),
            "accessId": form.access_id,
            "signature": form.signature,
            "host": self._forms.url,
            "expire": str(int(form.expires_at.timestamp())),
            "callback": form.callback,
            "filePath": form.file_path,
            "policy": form.policy,
            "securityToken": form.security_token,
        }
        return json_response(body)

    async def upload(self, request: web.Request) -> web.Response:
        check_link(self._links, request)
        resource_id = resource_id_of(request)
        async with self._turn():
            async with _arriving():
                content = await read_bounded(request.content.iter_chunked(2**16), self._max_upload_bytes)
            encoding = request.headers.get("Content-Encoding", "")
            await self._keep(resource_id, unpacked(content, encoding, self._max_upload_bytes))
        return json_response(ANSWERED)

    async def upload_form(self, request: web.Request) -> web.Response:
        async with self._turn():
            async with _arriving():
                form, content = await read_form(request, self._admitted)
            try:
                await self._keep(form.resource_id, content)
            except InvalidSubmission as error:
                raise error.of(FILE) from error
        return web.Response(status=204) if form.status == 204 else json_response(ANSWERED, form.status)

    def _admitted(self, fields: Mapping[str, str]) -> tuple[AdmittedForm, int]:
        """Fields that neither OSS nor we know are passed over: libraries for uploads send some of their own."""
        if fields.get("success_action_redirect"):
            raise InvalidSubmission([Fault("success_action_redirect", "is not supported by this server")])
        status = fields.get("success_action_status") or "200"
        if status not in STATUSES:
            raise InvalidSubmission([Fault("success_action_status", f"must be {quoted(STATUSES, 'or')}")])
        upload = self._forms.check(fields)
        return AdmittedForm(upload.resource_id, int(status)), min(upload.max_bytes, self._max_upload_bytes)

    async def _new_resource(self, request: web.Request) -> tuple[UUID, UploadBody]:
        account = await self._authentication.account_of(request, Scope.RESOURCES_WRITE)
        asked = await _upload_body(request)
        open_for = asked.link_lifetime + STORED_WITHIN
        kept_for = None if asked.term == 2 else SHORT_TERM
        return await self._resources.add_upload(account.id, open_for=open_for, kept_for=kept_for), asked

    async def _keep(self, resource_id: UUID, content: bytes) -> None:
        if not content:
            raise refusal(f"of resource {resource_id} has no bytes: the upload is empty")
        picture = await self._reader.read(content)
        # The content is in the key: a repeat of the upload changes nothing, and another picture is refused, because
        # accepted jobs may begin from the first.
        key = f"{upload_folder(resource_id)}/{picture.digest[:16]}.png"
        await self._resources.check_open(resource_id, key)  # or refused pictures would fill the store
        await self._files.put(key, picture.png)
        image = Image(id=resource_id, key=key, format="png", width=picture.width, height=picture.height)
        await self._resources.store_upload(image)

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        if self._turns.locked():
            raise Unavailable("Too many pictures are coming in; send it again.")
        async with self._turns:
            yield


@asynccontextmanager
async def _arriving() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(ARRIVES_WITHIN.total_seconds()):
            yield
    except TimeoutError as error:
        raise InvalidSubmission([Fault("", f"the picture did not arrive within {ARRIVES_WITHIN}")]) from error


async def _upload_body(request: web.Request) -> UploadBody:
    # Not can_read_body: a signed request's body was read before.
    value = await read_json(request) if await read_body(request) else {}
    faults = Faults(value)
    body = faults.read(UploadBody)
    faults.raise_any()
    return body
