"""POST /v1/controlnet/detect: what a preprocessor makes of a picture, as a picture of the account's own.

Why it is done here and by no worker: docs/decisions/0009.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID
from weakref import WeakValueDictionary

from aiohttp import web
from pydantic import ValidationError

from jobs.account import Scope
from jobs.dialects.protobuf_json import Message, Name, faults_of, requiring
from jobs.dialects.tams_response import detected_body
from jobs.errors import Fault, InvalidSubmission, NotFound, Unavailable
from jobs.job import Image
from jobs.links import Links
from jobs.preprocessors import Preprocessor, UnknownPreprocessor, canonical
from jobs.storage.files import Files, upload_folder
from jobs.storage.resource_store import ResourceStore
from orchestrator.authentication import Authentication
from orchestrator.json_http import json_response, read_json
from orchestrator.picture_reader import PictureReader
from orchestrator.resources_api import SHORT_TERM, STORED_WITHIN
from orchestrator.uploaded_picture import UploadedPicture

DETECT_PATH = "/v1/controlnet/detect"
# Pictures in memory: while two are looked at, others come and go. Who waits for a turn holds none.
MAX_AT_ONCE = 4
TURN_WITHIN_S = 60


class DetectBody(Message):
    model_config = requiring("controlnetModule", "resourceId")

    controlnet_module: Name | None = None
    resource_id: Name | None = None


class DetectApi:
    def __init__(
        self,
        *,
        authentication: Authentication,
        resources: ResourceStore,
        files: Files,
        reader: PictureReader,
        links: Links,
    ) -> None:
        self._authentication = authentication
        self._resources = resources
        self._files = files
        self._reader = reader
        self._links = links
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)
        self._account_turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def routes(self) -> list[web.RouteDef]:
        return [web.post(DETECT_PATH, self.detect)]

    async def detect(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.RESOURCES_WRITE)
        preprocessor, resource_id = _asked(await read_json(request))
        image = await self._resources.get(account.id, resource_id)
        async with self._turn(account.id):
            stored = await self._stored(account.id, await self._seen(image, preprocessor))
        return json_response(detected_body(stored, self._links))

    @asynccontextmanager
    async def _turn(self, account_id: int) -> AsyncIterator[None]:
        """An account has one at a time: however many it asks for, another's waits behind one of them at most."""
        own = self._account_turns.setdefault(account_id, asyncio.Lock())
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(TURN_WITHIN_S):
                    await held.enter_async_context(own)
                    await held.enter_async_context(self._turns)
            except TimeoutError as error:
                raise Unavailable("Too many pictures are looked at; send it again.") from error
            yield

    async def _seen(self, image: Image, preprocessor: Preprocessor) -> UploadedPicture:
        try:
            return await self._reader.read(await self._files.get(image.key), preprocessor)
        except InvalidSubmission as error:
            raise InvalidSubmission([Fault("resourceId", fault.reason) for fault in error.faults]) from error

    async def _stored(self, account_id: int, picture: UploadedPicture) -> Image:
        id_ = await self._resources.add_upload(account_id, open_for=STORED_WITHIN, kept_for=SHORT_TERM)
        key = f"{upload_folder(id_)}/{picture.digest[:16]}.png"
        await self._files.put(key, picture.png)
        await self._resources.store_upload(
            Image(id=id_, key=key, format="png", width=picture.width, height=picture.height)
        )
        return await self._resources.get(account_id, id_)


def _asked(value: object) -> tuple[Preprocessor, UUID]:
    """Raises InvalidSubmission with all its faults, NotFound for what is no id."""
    try:
        body = DetectBody.model_validate(value)
    except ValidationError as error:
        raise InvalidSubmission(faults_of(error)) from error
    faults = []
    preprocessor = Preprocessor.NONE
    try:
        if body.controlnet_module:
            preprocessor = canonical(body.controlnet_module)
        else:
            faults.append(Fault("controlnetModule", "is required"))
    except UnknownPreprocessor as error:
        faults.append(Fault("controlnetModule", error.message))
    if not body.resource_id:
        faults.append(Fault("resourceId", "is required"))
    if faults:
        raise InvalidSubmission(faults)
    return preprocessor, _uuid(body.resource_id or "")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"There is no resource {text[:40]!r}.") from error
