"""POST /v1/jobs/credits: what stages would cost. It accepts no job, and looks at no balance."""

from aiohttp import web

from jobs.account import Scope
from jobs.catalog import Catalog
from jobs.credits import Rates, price
from jobs.dialects.tams_answers import CreditsAnswer
from jobs.dialects.tams_request import parse_stages
from jobs.stages.input_initialize import InputInitialize
from jobs.storage.resource_store import ResourceStore
from jobs.submission import with_picture_size
from orchestrator.authentication import Authentication
from orchestrator.input_pictures import sizes_of
from orchestrator.json_http import json_response, read_json


class CreditsApi:
    def __init__(
        self, *, authentication: Authentication, resources: ResourceStore, catalog: Catalog, rates: Rates
    ) -> None:
        self._authentication = authentication
        self._resources = resources
        self._catalog = catalog
        self._rates = rates

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/jobs/credits", self.estimate)]

    async def estimate(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        stages = parse_stages(await read_json(request), self._catalog)
        initial = [
            (account.id, name) for stage in stages if isinstance(stage, InputInitialize) for name in stage.inputs
        ]
        if initial:
            sizes = await sizes_of(self._resources, initial)
            stages = with_picture_size(stages, {name: size for (_, name), size in sizes.items()})
        return json_response(CreditsAnswer(credits=float(price(stages, self._catalog, self._rates))))
