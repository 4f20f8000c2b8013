"""POST /v1/controlnet/detect: what a preprocessor makes of a picture, as a picture of the account's own.

Algorithms are computed here, and why: docs/decisions/0009. For those that look with a network a worker is asked, see
`detect_jobs`.
"""

from functools import partial
from uuid import UUID

from aiohttp import web

from jobs.account import Scope
from jobs.catalog import Catalog
from jobs.dialects.faults import Faults
from jobs.dialects.protobuf_json import Message, Name, requiring, shown
from jobs.dialects.tams_response import detected_body
from jobs.errors import InvalidSubmission, NotFound
from jobs.job import Image
from jobs.links import Links
from jobs.preprocessors import Preprocessor, UnknownPreprocessor, parameters_of, resolve
from jobs.stages.controlnet_detect import ControlnetDetect
from jobs.storage.files import Files, upload_folder
from jobs.storage.resource_store import ResourceStore
from orchestrator.account_turns import AccountTurns
from orchestrator.authentication import Authentication
from orchestrator.detect_jobs import DetectJobs
from orchestrator.job_events import has_gone
from orchestrator.json_http import json_response, read_json
from orchestrator.picture_reader import PictureReader
from orchestrator.resources_api import SHORT_TERM, STORED_WITHIN
from orchestrator.uploaded_picture import UploadedPicture

DETECT_PATH = "/v1/controlnet/detect"
# Pictures in memory: while two are looked at, others come and go. Who waits for a turn holds none.
MAX_AT_ONCE = 4


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
        jobs: DetectJobs,
        catalog: Catalog,
        links: Links,
    ) -> None:
        self._authentication = authentication
        self._resources = resources
        self._files = files
        self._reader = reader
        self._jobs = jobs
        self._catalog = catalog
        self._links = links
        self._turns = AccountTurns(MAX_AT_ONCE)

    def routes(self) -> list[web.RouteDef]:
        return [web.post(DETECT_PATH, self.detect)]

    async def detect(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.RESOURCES_WRITE)
        preprocessor, network, resource_id = _asked(await read_json(request), self._catalog)
        image = await self._picture(account.id, resource_id)
        if network:
            stage = ControlnetDetect(
                preprocessor=preprocessor, model=network, preprocessor_params=parameters_of(preprocessor, {})
            )
            made = await self._jobs.look(account, image, stage, partial(has_gone, request))
        else:
            made = await self._computed(account.id, image, preprocessor)
        return json_response(detected_body(made, self._links))

    async def _picture(self, account_id: int, name: str) -> Image:
        """Raises NotFound, in the same words for what is no id, not there, or another account's."""
        try:
            return await self._resources.get(account_id, UUID(name))
        except (ValueError, NotFound) as error:
            reason = f"there is no resource {shown(name)!r} with a picture; upload one first"
            raise NotFound(reason, field="resourceId") from error

    async def _computed(self, account_id: int, image: Image, preprocessor: Preprocessor) -> Image:
        async with self._turns.turn(account_id):
            return await self._stored(account_id, await self._seen(image, preprocessor))

    async def _seen(self, image: Image, preprocessor: Preprocessor) -> UploadedPicture:
        try:
            return await self._reader.read(await self._files.get(image.key), preprocessor)
        except InvalidSubmission as error:
            raise error.of("resourceId") from error

    async def _stored(self, account_id: int, picture: UploadedPicture) -> Image:
        id_ = await self._resources.add_upload(account_id, open_for=STORED_WITHIN, kept_for=SHORT_TERM)
        key = f"{upload_folder(id_)}/{picture.digest[:16]}.png"
        await self._files.put(key, picture.png)
        await self._resources.store_upload(
            Image(id=id_, key=key, format="png", width=picture.width, height=picture.height)
        )
        return await self._resources.get(account_id, id_)


def _asked(value: object, catalog: Catalog) -> tuple[Preprocessor, str | None, str]:
    """The preprocessor, the network that it looks with if any, and the picture.

    Raises InvalidSubmission with all its faults."""
    faults = Faults(value)
    body = faults.read(DetectBody)
    preprocessor, network = Preprocessor.NONE, None
    try:
        if body.controlnet_module:
            preprocessor, network = resolve(body.controlnet_module, catalog)
        else:
            faults.add("controlnetModule", "is required")
    except UnknownPreprocessor as error:
        faults.add("controlnetModule", error.message)
    if not body.resource_id:
        faults.add("resourceId", "is required")
    faults.raise_any()
    return preprocessor, network, body.resource_id or ""
