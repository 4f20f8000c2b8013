"""GET /v1/jobs: an account's own jobs, newest first, page by page."""

from aiohttp import web

from jobs.account import Scope
from jobs.dialects.tams_list import list_body, parse_list
from jobs.links import Links
from jobs.storage.job_store import JobStore
from orchestrator.authentication import Authentication
from orchestrator.job_views import JobViews
from orchestrator.json_http import json_response


class JobListApi:
    def __init__(self, *, authentication: Authentication, jobs: JobStore, views: JobViews, links: Links) -> None:
        self._authentication = authentication
        self._jobs = jobs
        self._views = views
        self._links = links

    def routes(self) -> list[web.RouteDef]:
        return [web.get("/v1/jobs", self.show, allow_head=False)]

    async def show(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        asked = parse_list({name: request.query.getall(name) for name in request.query})
        jobs, next_page = await self._jobs.page(account.id, asked)
        return json_response(list_body(await self._views.of(jobs), next_page, self._links))
