"""What became of an account's callbacks, their replay, and tests of an address. It sends nothing itself."""

from aiohttp import web

from jobs.account import Scope
from jobs.dialects.tams_answers import DeliveryAnswer, ReplayAnswer
from jobs.dialects.tams_deliveries import (
    delivery_body,
    delivery_id,
    delivery_list_body,
    destination_list_body,
    job_deliveries_body,
    parse_delivery_list,
    parse_destination_list,
    parse_replay,
    parse_test,
)
from jobs.errors import Fault, InvalidSubmission
from jobs.storage.delivery_log import DeliveryLog
from orchestrator.authentication import Authentication
from orchestrator.job_path import JOB_PATH, job_id_of
from orchestrator.json_http import json_response, read_json


class DeliveriesApi:
    def __init__(self, *, authentication: Authentication, deliveries: DeliveryLog) -> None:
        self._authentication = authentication
        self._deliveries = deliveries

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get(f"{JOB_PATH}/deliveries", self.show_of_job, allow_head=False),
            web.get("/v1/deliveries", self.show, allow_head=False),
            web.get("/v1/deliveries/destinations", self.show_destinations, allow_head=False),
            web.post("/v1/deliveries/test", self.test),
            web.post("/v1/deliveries/replay", self.replay_all),
            web.post("/v1/deliveries/{id}/replay", self.replay),
        ]

    async def show_of_job(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        return json_response(job_deliveries_body(await self._deliveries.of_job(account.id, job_id_of(request))))

    async def show(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        asked = parse_delivery_list(_parameters(request))
        return json_response(delivery_list_body(await self._deliveries.page(account.id, asked), asked.limit))

    async def show_destinations(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_READ)
        asked = parse_destination_list(_parameters(request))
        destinations = await self._deliveries.destinations(account.id, asked)
        return json_response(destination_list_body(destinations, asked.limit))

    async def replay(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_WRITE)
        delivery = await self._deliveries.replay(account.id, delivery_id(request.match_info["id"]))
        return json_response(DeliveryAnswer(delivery=delivery_body(delivery)))

    async def replay_all(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_WRITE)
        if await request.read():
            raise InvalidSubmission([Fault("", "takes no body; its fields go into the address, like ?state=DEAD")])
        asked = parse_replay(_parameters(request))
        return json_response(ReplayAnswer(replayed=await self._deliveries.replay_all(account.id, asked)))

    async def test(self, request: web.Request) -> web.Response:
        account = await self._authentication.account_of(request, Scope.JOBS_WRITE)
        delivery = await self._deliveries.test(account.id, parse_test(await read_json(request)))
        return json_response(DeliveryAnswer(delivery=delivery_body(delivery)))


def _parameters(request: web.Request) -> dict[str, list[str]]:
    return {name: request.query.getall(name) for name in request.query}
