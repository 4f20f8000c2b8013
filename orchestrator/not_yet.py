"""Endpoints of TAMS that are not built yet: they say so to who is known, and read nothing."""

from aiohttp import web

from jobs.account import Scope
from jobs.errors import Unimplemented
from orchestrator.authentication import Authentication

PATHS = (
    ("POST", "/v1/jobs/workflow"),
    ("POST", "/v1/jobs/workflow/params/check"),
    ("POST", "/v1/jobs/workflow/template"),
    ("POST", "/v1/workflows/template/check"),
    ("GET", "/v1/workflows/{templateId}"),
    ("POST", "/v1/img2prompt"),
)


class NotYetApi:
    def __init__(self, authentication: Authentication) -> None:
        self._authentication = authentication

    def routes(self) -> list[web.RouteDef]:
        return [web.route(method, path, self.refuse) for method, path in PATHS]

    async def refuse(self, request: web.Request) -> web.Response:
        await self._authentication.account_of(request, Scope.JOBS_WRITE)
        raise Unimplemented(f"{request.method} {request.path} is not supported by this server yet.")
