"""POST /v1/jobs/credits: what stages would cost. It accepts no job, and looks at no balance."""

from aiohttp import web

from jobs.account import Scope
from jobs.catalog import Catalog
from jobs.credits import Rates, price
from jobs.dialects.tams_answers import CreditsAnswer
from jobs.dialects.tams_request import parse_stages
from orchestrator.authentication import Authentication
from orchestrator.json_http import json_response, read_json


class CreditsApi:
    def __init__(self, *, authentication: Authentication, catalog: Catalog, rates: Rates) -> None:
        self._authentication = authentication
        self._catalog = catalog
        self._rates = rates

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/jobs/credits", self.estimate)]

    async def estimate(self, request: web.Request) -> web.Response:
        await self._authentication.account_of(request, Scope.JOBS_READ)
        stages = parse_stages(await read_json(request), self._catalog)
        return json_response(CreditsAnswer(credits=float(price(stages, self._catalog, self._rates))))
