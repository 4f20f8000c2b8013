"""Lets pages of other web sites use some routes from a browser. It protects nothing: a signature does."""

from collections.abc import Mapping

from aiohttp import web

PREFLIGHT_KEPT_S = "600"


class Cors:
    """`methods` says which method each path takes, as `add_routes` spells paths. `origins` may hold `*`."""

    def __init__(self, origins: tuple[str, ...], methods: Mapping[str, str]) -> None:
        self._origins = origins
        self._methods = methods

    def routes(self) -> list[web.RouteDef]:
        return [web.options(path, self._preflight) for path in self._methods]

    def tell(self, request: web.Request, response: web.StreamResponse) -> None:
        """Of every answer, also one that tells of an error: the page must be able to read it."""
        resource = request.match_info.route.resource
        if resource is None or resource.canonical not in self._methods:
            return
        if "*" in self._origins:
            response.headers["Access-Control-Allow-Origin"] = "*"
        elif (origin := request.headers.get("Origin", "")) in self._origins:
            response.headers.update({"Access-Control-Allow-Origin": origin, "Vary": "Origin"})

    async def _preflight(self, request: web.Request) -> web.Response:
        resource = request.match_info.route.resource
        assert resource is not None  # it was found by its path
        headers = {
            "Access-Control-Allow-Methods": self._methods[resource.canonical],
            "Access-Control-Allow-Headers": "*",
            "Access-Control-Max-Age": PREFLIGHT_KEPT_S,
        }
        return web.Response(status=204, headers=headers)
